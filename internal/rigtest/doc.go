// Package rigtest holds the tests on real buildings: Debian's kernel WireGuard,
// a LAN and knxd for each, in an emulated machine, and the knxfleet binary as
// its users run it. They need the build tag rig and the rig's scripts, whose
// folder RIG_DIR names; `make rig` sets both.
package rigtest
