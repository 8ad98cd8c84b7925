// Package confinetest proves what the Dockerfile promises, without an image: the
// static binary holds tunnels as uid 65532 without a capability, with a
// read-only root in which nothing but /data can be written, and without
// /dev/net/tun. The test needs Linux, root, which makes the confinement, and the
// build tag confined; `make confined` sets it.
package confinetest
