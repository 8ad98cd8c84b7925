package knxserver

import "time"

// Times and counts that the KNX standard sets.
const (
	// ackTimeout is how long a TUNNELLING_REQUEST waits for its TUNNELLING_ACK
	// (TUNNELLING_REQUEST_TIMEOUT, KNX 03_08_04 Tunnelling §2.6).
	ackTimeout = time.Second

	// requestTries is how often a TUNNELLING_REQUEST is sent before the channel
	// is given up: once, and one repeat (KNX 03_08_04 Tunnelling §2.6).
	requestTries = 2

	// aliveTime is when a client is dropped of which nothing was heard
	// (CONNECTION_ALIVE_TIME, KNX 03_08_02 Core §5.4).
	aliveTime = 120 * time.Second

	// maxAPDU is the longest APDU that the interface forwards, as it tells by the
	// interface feature (KNX 03_08_04 Tunnelling).
	maxAPDU = 254
	// minAPDU is what every interface forwards: the APDU of a standard frame.
	minAPDU = 15
)
