package main

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// frameCmd looks into frames. No gateway is asked.
type frameCmd struct {
	Decode frameDecodeCmd `cmd:"" help:"Say what a KNXnet/IP frame means."`
}

type frameDecodeCmd struct {
	Output string   `short:"o" help:"Output: table for people, json for programs." enum:"table,json" default:"table"`
	Hex    []string `arg:"" name:"hex" help:"The frame in hex, from its header 0610 on; or the cEMI message alone, as in a telegram log of ETS."`
}

// decodedFrame is a frame as programs read it; what does not apply is left out.
// Data is the value of a telegram or of a feature in hex, or what follows the
// part that is taken apart.
type decodedFrame struct {
	Service     string `json:"service,omitempty"` // none of a message alone
	Channel     *uint8 `json:"channel,omitempty"`
	Sequence    *uint8 `json:"sequence,omitempty"`
	Message     string `json:"message,omitempty"`
	Source      string `json:"source,omitempty"`
	Destination string `json:"destination,omitempty"`
	APCI        string `json:"apci,omitempty"`
	Data        string `json:"data,omitempty"`

	// details are for people alone.
	details [][]string
}

// Run prints what the frame holds.
func (c *frameDecodeCmd) Run(s *streams) error {
	datagram, err := readHex(c.Hex)
	if err != nil {
		return err
	}
	decoded, err := decodeFrame(datagram)
	if err != nil {
		return usageError{err}
	}
	if c.Output == "json" {
		line, err := marshal(decoded)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(s.out, line)
		return err
	}
	return printTable(s.out, []string{"FIELD", "VALUE"}, decoded.rows())
}

// rows lists the fields that apply, and the details.
func (d *decodedFrame) rows() [][]string {
	var rows [][]string
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	add("service", d.Service)
	if d.Channel != nil {
		add("channel", strconv.Itoa(int(*d.Channel)))
	}
	if d.Sequence != nil {
		add("sequence", strconv.Itoa(int(*d.Sequence)))
	}
	add("message", d.Message)
	add("source", d.Source)
	add("destination", d.Destination)
	add("apci", d.APCI)
	add("data", d.Data)
	return append(rows, d.details...)
}

func (d *decodedFrame) detailf(name, format string, args ...any) {
	d.details = append(d.details, []string{name, fmt.Sprintf(format, args...)})
}

// decodeFrame reads a frame and the cEMI message in it, or a message alone: no message
// code is the first octet of a header.
func decodeFrame(datagram []byte) (*decodedFrame, error) {
	d := &decodedFrame{}
	if frame.MessageCode(datagram[0]).Known() {
		return d, d.takeCEMI(datagram)
	}
	f, err := frame.Parse(datagram)
	if err != nil {
		return nil, err
	}
	d.Service = f.Service().String()
	if err := d.take(f); err != nil {
		return nil, fmt.Errorf("%v: %w", f.Service(), err)
	}
	return d, nil
}

// take reads the services that carry messages.
func (d *decodedFrame) take(f frame.Frame) error {
	switch f := f.(type) {
	case frame.TunnellingRequest:
		d.Channel, d.Sequence = &f.Channel, &f.Sequence
		return d.takeCEMI(f.CEMI)
	case frame.TunnellingAck:
		d.Channel, d.Sequence = &f.Channel, &f.Sequence
		d.status(f.Status)
	case frame.FeatureGet:
		d.takeFeature(f.Channel, f.Sequence, f.Feature, nil)
	case frame.FeatureResponse:
		d.takeFeature(f.Channel, f.Sequence, f.Feature, f.Value)
		d.detailf("return code", "0x%02X", f.Code)
	case frame.FeatureSet:
		d.takeFeature(f.Channel, f.Sequence, f.Feature, f.Value)
	case frame.FeatureInfo:
		d.takeFeature(f.Channel, f.Sequence, f.Feature, f.Value)
	case frame.DeviceConfigurationRequest:
		d.Channel, d.Sequence = &f.Channel, &f.Sequence
		return d.takeCEMI(f.CEMI)
	case frame.DeviceConfigurationAck:
		d.Channel, d.Sequence = &f.Channel, &f.Sequence
		d.status(f.Status)
	case frame.RoutingIndication:
		return d.takeCEMI(f.CEMI)
	case frame.RoutingSystemBroadcast:
		return d.takeCEMI(f.CEMI)
	case frame.RoutingLost:
		d.detailf("lost", "%d", f.Lost)
	case frame.RoutingBusy:
		d.detailf("wait", "%v", f.Wait)
	default:
		d.takeCore(f)
	}
	return nil
}

// takeCore reads the services that find devices and hold connections.
func (d *decodedFrame) takeCore(f frame.Frame) {
	switch f := f.(type) {
	case frame.ConnectRequest:
		d.endpoint("control endpoint", f.Control)
		d.endpoint("data endpoint", f.Data)
		d.detailf("layer", "%v", f.Layer)
		if f.Fixed != 0 {
			d.detailf("wants address", "%v", f.Fixed)
		}
	case frame.ConnectResponse:
		d.status(f.Status)
		if f.Status == frame.StatusNoError {
			d.Channel = &f.Channel
			d.endpoint("data endpoint", f.Data)
			d.detailf("assigned address", "%v", f.Assigned)
		}
	case frame.OtherConnectRequest:
		d.endpoint("control endpoint", f.Control)
		d.endpoint("data endpoint", f.Data)
		d.detailf("connection", "%v", f.Type)
	case frame.OtherConnectResponse:
		d.Channel = &f.Channel
		d.status(frame.StatusNoError)
		d.endpoint("data endpoint", f.Data)
		d.detailf("connection", "%v", f.Type)
	case frame.ConnectionStateRequest:
		d.Channel = &f.Channel
		d.endpoint("control endpoint", f.Control)
	case frame.ConnectionStateResponse:
		d.Channel = &f.Channel
		d.status(f.Status)
	case frame.DisconnectRequest:
		d.Channel = &f.Channel
		d.endpoint("control endpoint", f.Control)
	case frame.DisconnectResponse:
		d.Channel = &f.Channel
		d.status(f.Status)
	case frame.DescriptionRequest:
		d.endpoint("control endpoint", f.Control)
	case frame.DescriptionResponse:
		d.description(f.Description)
	case frame.SearchRequest:
		d.endpoint("discovery endpoint", f.Discovery)
	case frame.SearchResponse:
		d.endpoint("control endpoint", f.Control)
		d.description(f.Description)
	case frame.SearchRequestExtended:
		d.endpoint("discovery endpoint", f.Discovery)
		for _, p := range f.Parameters {
			d.detailf("parameter", "%d %x", p.Type, p.Data)
		}
	case frame.SearchResponseExtended:
		d.endpoint("control endpoint", f.Control)
		d.description(f.Description)
	case frame.Secure:
		d.Data = hex.EncodeToString(f.Body)
	}
}

func (d *decodedFrame) status(s frame.Status) {
	d.detailf("status", "0x%02X %v", uint8(s), s)
}

func (d *decodedFrame) endpoint(name string, h frame.HPAI) {
	transport, address := "UDP", "route back"
	if h.TCP {
		transport = "TCP"
	}
	if h.Addr.IsValid() {
		address = h.Addr.String()
	}
	d.detailf(name, "%s %s", transport, address)
}

func (d *decodedFrame) description(description frame.Description) {
	if device := description.Device; device != (frame.DeviceInfo{}) { // in an extended answer it may be left out
		d.device(device)
	}
	for _, s := range description.Services {
		d.detailf("supports", "%v version %d", s.Family, s.Version)
	}
	for _, a := range description.Addresses {
		d.detailf("further address", "%v", a)
	}
}

func (d *decodedFrame) device(device frame.DeviceInfo) {
	d.detailf("name", "%s", strconv.Quote(device.Name)) // the device's own text
	d.detailf("medium", "%v", device.Medium)
	d.detailf("address", "%v", device.Address)
	d.detailf("serial number", "%x", device.Serial)
	d.detailf("multicast", "%v", device.Multicast)
	d.detailf("MAC", "%x", device.MAC)
}

func (d *decodedFrame) takeFeature(channel, sequence uint8, feature frame.Feature, value []byte) {
	d.Channel, d.Sequence, d.Data = &channel, &sequence, hex.EncodeToString(value)
	d.detailf("feature", "%d %v", uint8(feature), feature)
}

// takeCEMI reads a cEMI message. Those that carry no telegram keep their bytes.
func (d *decodedFrame) takeCEMI(cemi []byte) error {
	code, some := frame.MessageOf(cemi)
	if !some || !code.Known() {
		return fmt.Errorf("cEMI of %d bytes without a message code that the standard knows", len(cemi))
	}
	d.Message = code.String()
	switch code {
	case frame.LDataReq, frame.LDataInd, frame.LDataCon:
		l, err := frame.ParseLData(cemi)
		if err != nil {
			return err
		}
		if code == frame.LDataCon {
			d.detailf("confirmation", "%s", map[bool]string{false: "positive", true: "negative: nobody on the bus acknowledged it"}[l.Failed])
		}
		d.takeLData(l)
	case frame.LBusmonInd:
		return d.takeBusmonitor(cemi)
	default:
		if err := frame.CheckMessage(cemi); err != nil {
			return err
		}
		d.Data = hex.EncodeToString(cemi[1:])
		return nil
	}
	return d.takeInfo(cemi)
}

func (d *decodedFrame) takeInfo(cemi []byte) error {
	items, err := frame.ParseInfo(cemi)
	if err != nil {
		return err
	}
	for _, item := range items {
		d.detailf(item.Type.String(), "%x", item.Data)
	}
	return nil
}

func (d *decodedFrame) takeLData(l frame.LData) {
	d.Source = l.Source.String()
	d.Destination = frame.IndividualAddress(l.Destination).String()
	if l.Group {
		d.Destination = frame.GroupAddress(l.Destination).String()
	}
	if l.TPCI != 0 {
		d.detailf("transport", "%v", l.TPCI)
	}
	if !l.TPCI.Control() {
		d.APCI, d.Data = l.APCI.String(), hex.EncodeToString(l.Data)
	}
	d.detailf("priority", "%v", l.Priority)
	d.detailf("hop count", "%d", l.HopCount)
	if l.Repeated {
		d.detailf("repeated", "yes")
	}
	if l.SixBit {
		d.detailf("size", "6 bits or less")
	}
}

// takeBusmonitor shows the telegram that was heard, or its bytes where they are
// no whole frame: a busmonitor hears collisions too.
func (d *decodedFrame) takeBusmonitor(cemi []byte) error {
	b, err := frame.ParseBusmonitor(cemi)
	if err != nil {
		return err
	}
	heard, err := frame.ParseTP1(b.Frame)
	switch {
	case err != nil:
		d.Data = hex.EncodeToString(b.Frame)
		d.detailf("heard", "%v", err)
	case heard.Kind == frame.TP1Data:
		d.detailf("heard", "%v", heard.Kind)
		d.takeLData(heard.LData)
	default:
		d.Data = hex.EncodeToString(b.Frame)
		d.detailf("heard", "%v", heard.Kind)
	}
	var flags []string
	for _, flag := range []struct {
		set  bool
		name string
	}{{b.FrameError, "frame error"}, {b.BitError, "bit error"}, {b.ParityError, "parity error"}, {b.Lost, "frames lost before"}} {
		if flag.set {
			flags = append(flags, flag.name)
		}
	}
	d.detailf("busmonitor", "%s", strings.Join(append([]string{fmt.Sprintf("frame %d at tick %d", b.Sequence, b.Timestamp)}, flags...), ", "))
	return nil
}
