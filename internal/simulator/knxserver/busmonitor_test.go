package knxserver

import (
	"fmt"
	"strings"
	"testing"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// A busmonitor hears the telegram and what devices answer; a client with telegrams
// hears the telegram alone, and nobody else gets the busmonitor.
func TestBusmonitor(t *testing.T) {
	for name, c := range map[string]struct {
		faults Faults
		fails  bool
		want   string
	}{
		"acknowledged": {Faults{}, false, "L_Data, ACK"},
		"not taken":    {Faults{Nacks: 1}, false, "L_Data, NACK, repeated, ACK"},
		"busy":         {Faults{Busies: 1}, false, "L_Data, BUSY, repeated, ACK"},
		"nobody there": {Faults{Confirmation: ConfirmNegative}, true, "L_Data" + strings.Repeat(", repeated", 3)},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, Config{})
			d.fault(c.faults)
			client := d.connectFrom(clientAddr).Channel
			d.sendFrom(otherAddr, frame.ConnectRequest{Layer: frame.LayerBusmonitor})
			d.sendFrom(clientAddr, frame.ConnectRequest{Layer: frame.LayerBusmonitor})
			got := d.heard()
			if first, second := got[0].frame.(frame.ConnectResponse), got[1].frame.(frame.ConnectResponse); first.Status != 0 || second.Status != frame.StatusNoMoreConnections {
				t.Fatalf("the first got %v, the second %v", first.Status, second.Status)
			}
			monitor := got[0].frame.(frame.ConnectResponse).Channel
			d.sendFrom(clientAddr, frame.TunnellingRequest{Channel: client, CEMI: frame.LData{
				Message: frame.LDataReq, Priority: frame.PriorityLow, HopCount: 6, Destination: 0x0A03, Group: true,
				APCI: frame.GroupValueWrite, Data: []byte{1}, SixBit: true,
			}.Append(nil)})
			var heard []string
			for sequence := uint8(1); ; sequence++ {
				var next *frame.Busmonitor
				for _, s := range d.heard() {
					if r, ok := s.frame.(frame.TunnellingRequest); ok && s.to == otherAddr {
						b, err := frame.ParseBusmonitor(r.CEMI)
						if err != nil {
							t.Fatal(err)
						}
						next = &b
						d.sendFrom(otherAddr, frame.TunnellingAck{Channel: monitor, Sequence: r.Sequence})
						break
					}
				}
				if next == nil {
					break
				}
				if next.Sequence != sequence&7 {
					t.Errorf("frame %d has number %d", sequence, next.Sequence)
				}
				tp1, err := frame.ParseTP1(next.Frame)
				if err != nil {
					t.Fatal(err)
				}
				text := tp1.Kind.String()
				if tp1.LData.Repeated {
					text = "repeated"
				}
				heard = append(heard, text)
			}
			if got := strings.Join(heard, ", "); got != c.want {
				t.Errorf("heard %s, want %s", got, c.want)
			}
		})
	}
	if got := fmt.Sprint(ContentBusmonitor); got != "busmonitor" {
		t.Errorf("content %s", got)
	}
}
