// Package pathtest tests the whole path, from a building's bus to a client of the
// API and back: the knxfleet binary as its users run it, as a process, against
// buildings that do not know that they are tested.
//
// There is one table of what must be seen, and two worlds to see it in. The
// simulator's buildings are part of `go test ./...`; with -short the slow faults
// are left out. The rig's buildings, Debian's kernel WireGuard and knxd in an
// emulated machine, need the build tag rig and the rig's scripts, whose folder
// RIG_DIR names; `make rig` sets both. A world plays what it can: world_test.go
// says what there is, faults_test.go what has to come of it.
package pathtest
