package ets

// Our own bounds. Real projects stay far below them: with 20,000 addresses 0.xml has some 50 MiB, the largest
// application programs have 30 MiB, and XML packs by 10 to 40.
const (
	maxAddresses   = 65535    // lines with a group address in one import; there are no more addresses
	maxName        = 255      // characters of a name; ETS allows as many
	maxDescription = 2048     // characters of a description
	maxID          = 256      // octets of an identifier within a project
	maxRanges      = 16       // ranges around an address; only the free style has more than two
	maxWarnings    = 100      // warnings of one import; the last one says how many more there were
	maxLinks       = 1 << 20  // links from communication objects to addresses in one project
	maxPrograms    = 10_000   // application programs that are read for types
	maxText        = 64 << 20 // octets of an export
	maxRecord      = 64 << 10 // octets of one CSV record
	maxToken       = 8 << 20  // octets of one XML tag or text
	maxDepth       = 256      // XML elements within each other

	maxArchiveFiles = 100_000   // files in a zip
	maxFile         = 512 << 20 // octets that one file unpacks to
	maxUnpacked     = 1 << 30   // octets that all files together unpack to
	maxProtected    = 256 << 20 // octets of the zip inside a protected project; it is held in memory
	maxRatio        = 250       // unpacked by packed octets, once ratioFrom octets are unpacked
	ratioFrom       = 16 << 20
)
