// Package tables keeps the group address table of each building: which name,
// datapoint type and description every group address has, and the style in which
// addresses are written. Tables come from imports (package ets).
//
// A [Table] never changes. The [Store] keeps one for each building, one record in
// the engine under the key t.<building> (see record.go), and in memory those in use
// and which buildings have one. An import merges a file into the table and replaces
// it as a whole; what is in use then is the new one, without a restart of anything.
//
// Bounds: a table has at most 65,535 addresses, 4 MiB compressed and 32 MiB
// unpacked; in memory an address is some 90 bytes and its texts, of which the
// names of ranges are shared. The store holds 1 GiB of compressed tables.
package tables
