package api

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// valuePage is the last entry of a page of values.
type valuePage struct {
	building string
	address  frame.GroupAddress
}

func (p valuePage) token() string {
	return base64.RawURLEncoding.EncodeToString([]byte(p.building + " " + strconv.Itoa(int(p.address))))
}

func parseValuePage(token string) (valuePage, error) {
	if token == "" {
		return valuePage{}, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(token)
	building, address, _ := strings.Cut(string(text), " ")
	number, numberErr := strconv.ParseUint(address, 10, 16)
	if err != nil || numberErr != nil || registry.ValidateID(building) != nil {
		return valuePage{}, invalid("page_token", "is none of ours; send back next_page_token as it came")
	}
	return valuePage{building, frame.GroupAddress(number)}, nil
}
