package api

import (
	"context"
	"encoding/base64"
	"slices"
	"strconv"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/knxbridge/dpt"
	"github.com/knxfleet/knxfleet/knxbridge/ets"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// maxListPatterns is how many patterns of each kind a list takes.
const maxListPatterns = 100

func (s *buildingService) ListGroupAddresses(ctx context.Context, request *knxfleetv1.ListGroupAddressesRequest) (*knxfleetv1.ListGroupAddressesResponse, error) {
	addresses, err := addressPatterns(request.GetGroupAddresses(), maxListPatterns)
	if err != nil {
		return nil, err
	}
	names, err := namePatterns(request.GetNames(), maxListPatterns)
	if err != nil {
		return nil, err
	}
	size, err := pageSize(request.GetPageSize())
	if err != nil {
		return nil, err
	}
	after, err := addressOfToken(request.GetPageToken())
	if err != nil {
		return nil, err
	}
	if _, err := findBuilding(ctx, s.registry, "building", request.GetBuilding()); err != nil {
		return nil, err
	}
	table, err := s.tables.Load(ctx, request.GetBuilding())
	if err != nil {
		return nil, err
	}
	response := &knxfleetv1.ListGroupAddressesResponse{ImportedAt: timestamp(table.ImportedAt()), Etag: table.Etag()}
	if response.GetEtag() != "" {
		response.Style = styleToProto(table.Style())
	}
	var page []ets.Entry // one more than fits, to know whether there are more
	for _, line := range table.Entries() {
		if len(addresses) > 0 && !slices.ContainsFunc(addresses, func(p fleet.AddressPattern) bool { return p.Match(line.Address) }) ||
			len(names) > 0 && !slices.ContainsFunc(names, func(p fleet.NamePattern) bool { return p.Match(line.Name) }) {
			continue
		}
		response.TotalSize++
		if line.Address > after && len(page) <= size {
			page = append(page, line)
		}
	}
	lines := make([]*knxfleetv1.GroupAddress, 0, size)
	for _, line := range page[:min(len(page), size)] {
		lines = append(lines, groupAddressToProto(&line, table.Style()))
	}
	fit := fitting(lines)
	response.GroupAddresses = lines[:fit]
	if fit < len(page) {
		response.NextPageToken = base64.RawURLEncoding.EncodeToString(strconv.AppendUint(nil, uint64(page[fit-1].Address), 10))
	}
	return response, nil
}

// addressOfToken is the last address of the page before; 0 before the first page.
func addressOfToken(token string) (frame.GroupAddress, error) {
	if token == "" {
		return 0, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		var address uint64
		if address, err = strconv.ParseUint(string(text), 10, 16); err == nil {
			return frame.GroupAddress(address), nil
		}
	}
	return 0, invalid("page_token", "is none of ours; send back next_page_token as it came")
}

func addressPatterns(texts []string, most int) ([]fleet.AddressPattern, error) {
	return patterns("group_addresses", texts, most, fleet.ParseAddressPattern)
}

func namePatterns(texts []string, most int) ([]fleet.NamePattern, error) {
	return patterns("names", texts, most, fleet.ParseNamePattern)
}

// patterns reads the entries of a field.
func patterns[P any](field string, texts []string, most int, parse func(string) (P, error)) ([]P, error) {
	if len(texts) > most {
		return nil, invalid(field, "has %d entries; at most %d", len(texts), most)
	}
	all := make([]P, 0, len(texts))
	for i, text := range texts {
		p, err := parse(text)
		if err != nil {
			return nil, invalid(field, "entry %d: %w", i, err)
		}
		all = append(all, p)
	}
	return all, nil
}

func groupAddressToProto(e *ets.Entry, style frame.Style) *knxfleetv1.GroupAddress {
	address := &knxfleetv1.GroupAddress{
		Address:     e.Address.In(style),
		Name:        e.Name,
		Ranges:      e.Ranges,
		Description: e.Description,
		Secure:      e.Secure,
	}
	if e.Type != (dpt.ID{}) {
		address.Dpt = e.Type.String()
	}
	return address
}

func styleToProto(s frame.Style) knxfleetv1.GroupAddressStyle {
	switch s {
	case frame.StyleTwoLevel:
		return knxfleetv1.GroupAddressStyle_GROUP_ADDRESS_STYLE_TWO_LEVEL
	case frame.StyleFree:
		return knxfleetv1.GroupAddressStyle_GROUP_ADDRESS_STYLE_FREE
	default:
		return knxfleetv1.GroupAddressStyle_GROUP_ADDRESS_STYLE_THREE_LEVEL
	}
}
