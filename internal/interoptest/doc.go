// Package interoptest has the tests with other people's KNX software: knxd as the
// interface, and knxtool and two libraries for Node.js as further clients of it. They
// run with the build tag interop (make interop), on Linux, in a network namespace of
// their own, and say which package is missing where one is.
package interoptest
