package frame

import "fmt"

// Secure is a frame of KNXnet/IP Secure (KNX 03_08_09), which this package recognises and does not open:
// its length is right, and what follows the header stays as it is.
type Secure struct {
	Kind Service // one of the secure services
	Body []byte  // aliases the datagram
}

// Service is the frame's Kind.
func (s Secure) Service() Service { return s.Kind }

func (s Secure) appendBody(dst []byte) []byte { return append(dst, s.Body...) }

// Lengths of what follows the header. A wrapper has the header of a frame in it at least, between session,
// sequence information, serial number, tag and MAC.
const (
	secureWrapperMin          = 2 + 6 + 6 + 2 + headerLength + 16
	sessionRequestLength      = hpaiLength + 32
	sessionResponseLength     = 2 + 32 + 16
	sessionAuthenticateLength = 2 + 16
	sessionStatusLength       = 2
	timerNotifyLength         = 6 + 6 + 2 + 16
)

func parseSecure(service Service, body []byte) (Frame, error) {
	var want int
	switch service {
	case SessionRequestService:
		want = sessionRequestLength
	case SessionResponseService:
		want = sessionResponseLength
	case SessionAuthenticateService:
		want = sessionAuthenticateLength
	case SessionStatusService:
		want = sessionStatusLength
	case TimerNotifyService:
		want = timerNotifyLength
	default:
		if len(body) < secureWrapperMin {
			return nil, fmt.Errorf("%d bytes after the header, want at least %d", len(body), secureWrapperMin)
		}
		return Secure{service, body}, nil
	}
	return Secure{service, body}, wantLength(body, want)
}
