/* SPDX-License-Identifier: ISC */
/* cloister-tap: to come.
 * #syscalls tap: poll
 */
int main(void)
{
	return 1;
}
