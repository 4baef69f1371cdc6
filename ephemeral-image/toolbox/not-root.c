/* Preloaded into programs that become another user before they listen if they find themselves to be root, Debian's tcpdump and ngrep: they
 * think that they are not, and stay who they are. A container that dropped SETUID and SETGID may not change its user, not even into the one
 * that it is, and they would end instead of listening; in one that may, they could no longer write where root can.
 * What may be captured, the kernel decides by capabilities and not by what is said here. */

unsigned int getuid(void) { return 65532; }
unsigned int geteuid(void) { return 65532; }
int setuid(unsigned int user) { (void)user; return 0; }
int setgid(unsigned int group) { (void)group; return 0; }
