package session

import "time"

// Times and counts that the KNX standard sets. Our own choices are in tuning.go.
const (
	// connectTimeout is how long a CONNECT_REQUEST waits for its answer
	// (CONNECT_REQUEST_TIMEOUT, KNX 03_08_02 Core, timeout constants).
	connectTimeout = 10 * time.Second

	// heartbeatTimeout is how long a CONNECTIONSTATE_REQUEST waits for its answer
	// (CONNECTIONSTATE_REQUEST_TIMEOUT, KNX 03_08_02 Core §5.4 heartbeat monitoring).
	heartbeatTimeout = 10 * time.Second

	// heartbeatRepeats is how often an unanswered CONNECTIONSTATE_REQUEST is
	// sent again before the connection is given up (KNX 03_08_02 Core §5.4).
	heartbeatRepeats = 3

	// disconnectTimeout is how long a DISCONNECT_REQUEST waits for its answer at
	// most (KNX 03_08_02 Core, disconnecting).
	disconnectTimeout = 10 * time.Second

	// connectionAliveTime is when a server drops a client of which it has heard
	// nothing (CONNECTION_ALIVE_TIME, KNX 03_08_02 Core §5.4).
	connectionAliveTime = 120 * time.Second

	// ackTimeout is how long a TUNNELLING_REQUEST waits for its TUNNELLING_ACK
	// (TUNNELLING_REQUEST_TIMEOUT, KNX 03_08_04 Tunnelling §2.6).
	ackTimeout = time.Second

	// requestTries is how often a TUNNELLING_REQUEST is sent before the
	// connection is given up: once, and one repeat (KNX 03_08_04 Tunnelling §2.6).
	requestTries = 2

	// confirmTimeout is how long we wait for the L_Data.con of a request that was
	// acknowledged (KNX 03_06_03 EMI, L_Data; 3 s is what tools use).
	confirmTimeout = 3 * time.Second
)
