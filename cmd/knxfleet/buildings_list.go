package main

import (
	"context"
	"slices"
	"strings"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

type buildingsListCmd struct {
	client

	Selector string   `short:"l" help:"Only buildings with these labels." placeholder:"KEY=VALUE,…"`
	State    []string `help:"Only buildings in one of these states, such as ONLINE or BACKING_OFF." placeholder:"STATE,…"`
	OrderBy  string   `help:"Order: id, display_name, state, since, created_at, updated_at or last_telegram_at, with ' desc' for the reverse." placeholder:"FIELD"`
}

// Run lists the buildings.
func (c *buildingsListCmd) Run(ctx context.Context, s *streams) error {
	states, err := parseStates(c.State)
	if err != nil {
		return err
	}
	return c.withBuildings(func(buildings knxfleetv1.BuildingServiceClient) error {
		all, err := listBuildings(ctx, buildings, &knxfleetv1.ListBuildingsRequest{LabelSelector: c.Selector, States: states, OrderBy: c.OrderBy})
		if err != nil {
			return err
		}
		return printBuildings(c.client, s.out, all...)
	})
}

// listBuildings collects all pages of a list.
func listBuildings(ctx context.Context, buildings knxfleetv1.BuildingServiceClient, request *knxfleetv1.ListBuildingsRequest) ([]*knxfleetv1.Building, error) {
	request.PageSize = 1000
	var all []*knxfleetv1.Building
	for {
		page, err := buildings.ListBuildings(ctx, request)
		if err != nil {
			return nil, err
		}
		all = append(all, page.GetBuildings()...)
		request.PageToken = page.GetNextPageToken()
		if request.GetPageToken() == "" {
			return all, nil
		}
	}
}

// parseStates reads states in their short form, in any case.
func parseStates(names []string) ([]knxfleetv1.State, error) {
	states := make([]knxfleetv1.State, 0, len(names))
	for _, name := range names {
		state, known := knxfleetv1.State_value["STATE_"+strings.ToUpper(strings.TrimPrefix(name, "STATE_"))]
		if !known || state == 0 {
			return nil, usagef("--state %q: want one of %s", name, strings.Join(stateNames(), ", "))
		}
		states = append(states, knxfleetv1.State(state))
	}
	return states, nil
}

func stateNames() []string {
	var names []string
	for number := range knxfleetv1.State_name {
		if number != 0 {
			names = append(names, shortState(knxfleetv1.State(number)))
		}
	}
	slices.Sort(names)
	return names
}
