// Package ets reads the group addresses of a building out of what ETS writes: group address exports as XML
// and as CSV, and whole projects (.knxproj) of ETS4 to ETS6, also with a password.
//
// Parse finds out the format from the content and gives a Table: for each address its name, description,
// datapoint type and the names of the ranges around it, in the style of the project. What is odd but can be
// read gives a Warning; what cannot be read gives one Error that says where and what would be right, and no
// table at all.
//
// Files come from outside, so everything is bounded (limits.go): a file that unpacks to too much, nests too
// deep or lists too much is refused with ErrTooLarge. No key, password or certificate in a project is kept.
//
// The package is pure: no I/O, no clock, no logging, no state. All functions may be called concurrently.
//
// # Where to look
//
// export_xml.go and export_csv.go read the exports. project.go finds the files in a project, installation.go
// reads addresses and links from them, program.go the types of linked communication objects. archive.go is
// the zip with its bounds, password.go, winzipaes.go and zipcrypto.go its protection, elements.go the XML
// reader with its bounds.
//
// Protected archives are decrypted here: archive/zip does not do it, and the two ciphers are short.
package ets
