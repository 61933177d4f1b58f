/* SPDX-License-Identifier: ISC */
/* cloister-net: to come.
 * #syscalls net net_alone: poll
 */
int main(void)
{
	return 1;
}
