/* SPDX-License-Identifier: ISC */
/* cloister-rng: to come.
 * #syscalls rng rng_alone: poll
 */
int main(void)
{
	return 1;
}
