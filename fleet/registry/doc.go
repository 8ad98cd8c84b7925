// Package registry keeps the buildings as they are desired: which there are,
// how each is reached, and whether it is to run. What runs is not known here.
//
// A building is one record in the engine, JSON under the key b.<id> (see
// record). A write that returns without error is on disk. Every record has a
// revision; a change may be made conditional on the one it is based on, so that
// two who change a building at once never overwrite each other unseen.
//
// The tunnel's private key and preshared key are sealed with a keyset before
// they reach the engine, each for its building and field. The first write of
// all is a check record, k.check, sealed with the same keyset: [Open] refuses
// a keyset that does not open it, and refuses to make a new one where a check
// record or a building exists.
//
// Bounds: a record is at most 64 KiB; what the registry holds in all is bounded
// by the engine's bucket (1 GiB, some 200,000 buildings). Memory use grows with
// the number of buildings only while a list is made, and by one id for each
// building in a watch.
package registry
