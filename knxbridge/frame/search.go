package frame

import "fmt"

// SRP is a search request parameter (KNX 03_08_02 Core, extended search): only devices that it fits answer.
type SRP struct {
	Type      uint8 // 7 bits: 1 in programming mode, 2 with a MAC, 3 with a service, 4 asks for blocks
	Mandatory bool  // a device that does not know the type does not answer
	Data      []byte
}

const (
	srpMinLength = 2 // its length, which counts itself, and its type
	srpMandatory = 0x80
	maxSRPs      = 32 // in one request
)

// SearchRequestExtended asks devices in reach that fit all parameters for chosen parts of their description
// (KNX 03_08_02 Core, version 2).
type SearchRequestExtended struct {
	Discovery  HPAI  // where devices answer to
	Parameters []SRP // at most 32, of 253 bytes each
}

// Service is SearchRequestExtendedService.
func (SearchRequestExtended) Service() Service { return SearchRequestExtendedService }

func (r SearchRequestExtended) appendBody(dst []byte) []byte {
	dst = r.Discovery.append(dst)
	for _, p := range r.Parameters[:min(len(r.Parameters), maxSRPs)] {
		data := p.Data[:min(len(p.Data), maxDIBLength-srpMinLength)]
		kind := p.Type &^ srpMandatory
		if p.Mandatory {
			kind |= srpMandatory
		}
		dst = append(append(dst, byte(srpMinLength+len(data)), kind), data...)
	}
	return dst
}

func parseSearchRequestExtended(body []byte) (Frame, error) {
	discovery, rest, err := parseHPAI(body)
	if err != nil {
		return nil, fmt.Errorf("discovery endpoint: %w", err)
	}
	r := SearchRequestExtended{Discovery: discovery}
	for len(rest) > 0 {
		if len(r.Parameters) == maxSRPs {
			return nil, fmt.Errorf("more than %d search parameters", maxSRPs)
		}
		length := int(rest[0])
		if length < srpMinLength || length > len(rest) {
			return nil, fmt.Errorf("search parameter: length %d, but %d bytes are left, want at least %d", length, len(rest), srpMinLength)
		}
		r.Parameters = append(r.Parameters, SRP{
			Type: rest[1] &^ srpMandatory, Mandatory: rest[1]&srpMandatory != 0, Data: append([]byte{}, rest[srpMinLength:length]...),
		})
		rest = rest[length:]
	}
	return r, nil
}

// SearchResponseExtended answers a SearchRequestExtended. Of the description it has what was asked for.
type SearchResponseExtended struct {
	Control HPAI // where the device takes connections
	Description
}

// Service is SearchResponseExtendedService.
func (SearchResponseExtended) Service() Service { return SearchResponseExtendedService }

func (r SearchResponseExtended) appendBody(dst []byte) []byte {
	dst = r.Control.append(dst)
	if r.Device == (DeviceInfo{}) {
		return r.appendOptional(dst, maxDIBs)
	}
	return r.Description.append(dst)
}

func parseSearchResponseExtended(body []byte) (Frame, error) {
	control, dibs, err := parseHPAI(body)
	if err != nil {
		return nil, fmt.Errorf("control endpoint: %w", err)
	}
	description, _, err := parseBlocks(dibs)
	return SearchResponseExtended{Control: control, Description: description}, err
}
