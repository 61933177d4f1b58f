/* SPDX-License-Identifier: ISC */
/* cloister-blk: to come.
 * #syscalls blk blk_alone: poll
 */
int main(void)
{
	return 1;
}
