package knxserver

import (
	"github.com/knxfleet/knxfleet/knxbridge/dpt"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// Building returns the profile of a small office building: lights, temperatures,
// blinds and meters, two dozen objects with names. Make it once and share it.
func Building() *Profile {
	p, err := NewProfile(officeObjects())
	if err != nil {
		panic("knxserver: " + err.Error()) // the table below is wrong
	}
	return p
}

func officeObjects() []Object {
	at := func(main, middle, sub uint16) frame.GroupAddress {
		return frame.GroupAddress(main<<11 | middle<<8 | sub)
	}
	id := func(main, sub uint16) dpt.ID { return dpt.ID{Main: main, Sub: sub} }
	light := func(sub uint16, name string) []Object {
		command := at(1, 2, sub)
		return []Object{
			{Address: command, Name: name + " light", DPT: id(1, 1), Kind: Control, High: 1},
			{Address: at(1, 3, sub), Name: name + " light status", DPT: id(1, 1), Kind: Status, Of: command, High: 1},
		}
	}
	blind := func(sub uint16, name string) []Object {
		position := at(3, 2, sub)
		return []Object{
			{Address: at(3, 1, sub), Name: name + " blind up/down", DPT: id(1, 8), Kind: Move, Of: position, High: 1},
			{Address: position, Name: name + " blind position", DPT: id(5, 1), Kind: Control, High: 100, Step: 25},
			{Address: at(3, 3, sub), Name: name + " blind position status", DPT: id(5, 1), Kind: Status, Of: position, High: 100},
		}
	}
	temperature := func(sub uint16, name string, low, high float64) Object {
		return Object{
			Address: at(2, 1, sub), Name: name + " temperature", DPT: id(9, 1),
			Low: low, High: high, Step: 0.3, Start: (low + high) / 2, Decimals: 2,
		}
	}
	objects := []Object{
		{Address: at(1, 2, 10), Name: "Open-plan office brightness", DPT: id(5, 1), Kind: Control, High: 100, Step: 10},
		{Address: at(1, 3, 10), Name: "Open-plan office brightness status", DPT: id(5, 1), Kind: Status, Of: at(1, 2, 10), High: 100},
		temperature(1, "Lobby", 19, 23),
		temperature(2, "Meeting room", 20, 25),
		temperature(3, "Server room", 17, 21),
		temperature(4, "Outside", -8, 12),
		{Address: at(2, 2, 1), Name: "Meeting room setpoint", DPT: id(9, 1), Kind: Control, Low: 18, High: 24, Step: 0.5, Start: 21, Decimals: 2},
		{Address: at(2, 3, 1), Name: "Meeting room setpoint status", DPT: id(9, 1), Kind: Status, Of: at(2, 2, 1), Low: 18, High: 24, Start: 21, Decimals: 2},
		{Address: at(2, 4, 1), Name: "Meeting room CO2", DPT: id(9, 8), Low: 420, High: 1400, Step: 40, Start: 600},
		{Address: at(2, 5, 1), Name: "Roof brightness", DPT: id(9, 4), Low: 0, High: 60000, Step: 800, Start: 12000},
		{Address: at(4, 1, 1), Name: "Main meter energy", DPT: id(13, 10), Kind: Meter, High: 2e9, Step: 90, Start: 48_213_400},
		{Address: at(4, 1, 2), Name: "Main meter power", DPT: id(14, 56), Low: 800, High: 14000, Step: 600, Start: 5200, Decimals: 1},
		{Address: at(4, 2, 1), Name: "Water meter", DPT: id(12, 1200), Kind: Meter, High: 4e9, Step: 20, Start: 1_204_300},
		{Address: at(4, 3, 1), Name: "Lift trips", DPT: id(12, 1), Kind: Meter, High: 4e9, Step: 1, Start: 90_311},
	}
	objects = append(objects, light(1, "Lobby")...)
	objects = append(objects, light(2, "Meeting room")...)
	objects = append(objects, light(3, "Stairs")...)
	objects = append(objects, blind(1, "South")...)
	return append(objects, blind(2, "West")...)
}
