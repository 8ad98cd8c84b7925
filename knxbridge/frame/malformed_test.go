package frame_test

import (
	"strings"
	"testing"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

func TestMalformedFrames(t *testing.T) {
	device := "360102001000000000082d40834de000170c000ab3274a324b4e582f49502d526f75746572" + strings.Repeat("00", 17)
	tests := []struct {
		name, hex, want string
	}{
		{"nothing", "", "header: 0 bytes"},
		{"half a header", "0610020600", "header: 5 bytes"},
		{"header length 5", "051004200015040101002900bce0110a0901010081", "header: length 5, want 6"},
		{"version 1.1", "061104200015040101002900bce0110a0901010081", "version 0x11, want 0x10"},
		{"service of another family", "061007400006", "service 0x0740: this service is not supported"},
		{"unknown service", "06100fff0006", "service 0x0FFF"},
		{"raw frame with a wrong total length", "061004200011040101002d00bce0110a", "total length 17, but the datagram has 16"},
		{"trailing byte", "06100421000a0401000000", "total length 10, but the datagram has 11"},
		{"total length below the header", "061004210005", "total length 5"},
		{"connect response without a body", "061002060006", "CONNECT_RESPONSE: 0 bytes after the header"},
		{"connect response without a status", "06100206000701", "CONNECT_RESPONSE: 1 bytes after the header"},
		{"connect response that grants and ends", "0610020600080100", "data endpoint: HPAI: 0 bytes, want 8"},
		{"connect response without a CRD", "06100206001001000801c0a82a0a0e57", "connection response data: 0 bytes"},
		{"connect response with a CRD of length 0", "06100206001401000801c0a82a0a0e57000411ff", "connection response data"},
		{"connect response of another type", "06100206001401000801c0a82a0a0e57040511ff", "connection type 0x05, want 0x04"},
		{"refusal of an odd length", "0610020600090024ff", "after the status of a refusal"},
		{"HPAI of length 7", "06100203000e0701000000000000", "HPAI: length 7, want 8"},
		{"HPAI of another protocol", "06100203000e0803000000000000", "protocol 0x03"},
		{"connect request of an unknown type", "06100205001a0801000000000000080100000000000004050200", "connection type 0x05, want 0x04"},
		{"management request with a layer", "06100205001a0801000000000000080100000000000004030200", "DEVICE_MGMT_CONNECTION: information of length 4, want 2"},
		{"configuration with a connection header of length 5", "06100310000a05010500", "connection header: length 5, want 4"},
		{"configuration acknowledged in short", "06100311000704", "1 bytes after the header, want at least 4"},
		{"configuration acknowledged at length", "06100311000b0401050000", "5 bytes after the header, want 4"},
		{"extended search without an endpoint", "0610020b0007ff", "discovery endpoint: HPAI: 1 bytes"},
		{"search parameter of length 0", "0610020b00100801c0a802010e570000", "search parameter: length 0"},
		{"search parameter beyond the end", "0610020b00110801c0a802010e57040301", "search parameter: length 4, but 3 bytes are left"},
		{"too many search parameters", "0610020b0050" + "0801c0a802010e57" + strings.Repeat("0281", 33), "more than 32"},
		{"extended answer with half a family", "0610020c00110801c0a802010e570302ff", "type 0x02: length 3, want an even one"},
		{"empty secure wrapper", "061009500006", "SECURE_WRAPPER: 0 bytes after the header, want at least 38"},
		{"session request without a key", "0610095100080000", "want 40"},
		{"session status of one byte", "06100954000700", "SESSION_STATUS: 1 bytes after the header, want 2"},
		{"connect request with a long CRI", "06100205001c08010000000000000801000000000000040402000000", "as many as its length says"},
		{"connect request with a CRI of length 5", "06100205001b080100000000000008010000000000000504020000", "length 5, want 4 or 6"},
		{"connect request without a CRI", "06100205001608010000000000000801000000000000", "0 bytes left"},
		{"heartbeat without an endpoint", "0610020700081500", "CONNECTIONSTATE_REQUEST: 2 bytes after the header, want 10"},
		{"heartbeat answer with more", "0610020800091b2100", "CONNECTIONSTATE_RESPONSE: 3 bytes after the header, want 2"},
		{"disconnect with half an endpoint", "06100209000c150008010000", "DISCONNECT_REQUEST: 6 bytes"},
		{"request without a connection header", "061004200008" + "0401", "2 bytes after the header, want at least 4"},
		{"request with a connection header of length 5", "06100420000a05010000", "connection header: length 5, want 4"},
		{"acknowledgement with more", "06100421000b0401000000", "5 bytes after the header, want 4"},
		{"feature without a feature", "06100423000a04011700", "want at least 6"},
		{"feature get with a value", "06100422000d04011700030000", "want 6"},
		{"routing busy with a wrong block length", "06100532000c040000640000", "block length 4, want 6"},
		{"block beyond the datagram", "0610020400085b01", "description block: length 91, but 2 bytes are left"},
		{"block of length 0", "061002040008" + "0001", "description block: length 0"},
		{"block of length 1", "061002040008" + "0101", "description block: length 1"},
		{"block of one byte", "061002040007" + "01", "description block: length 1, but 1 bytes are left"},
		{"short device information", "06100204000a" + "04010200", "device information: length 4, want 54"},
		{"no device information", "06100204000a" + "04020202", "no device information"},
		{"device information twice", "061002040072" + device + device, "type 0x01 comes twice"},
		{"half a service family", "06100204003f" + device + "0302ff", "type 0x02: length 3, want an even one"},
		{"too many blocks", "06100204007e" + device + strings.Repeat("02fe", 33), "more than 32"},
		{"search response without a description", "06100202000e0801000000000000", "no device information"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, err := frame.Parse(unhex(t, test.hex))
			wantError(t, f, err, test.want)
		})
	}
}

func TestMalformedMessages(t *testing.T) {
	tests := []struct {
		name, hex, want string
	}{
		{"nothing", "", "cEMI: 0 bytes"},
		{"only a code", "29", "cEMI: 1 bytes"},
		{"raw frame", "2d00bce0110a", "L_Raw.ind: want L_Data"},
		{"property read", "fc00000b0134", "M_PropRead.req: want L_Data"},
		{"additional information beyond the end", "2904bce0", "additional information of 4 bytes, but 2 bytes follow"},
		{"additional information of the reserved length", "29ff" + strings.Repeat("00", 300), "additional information of 255 bytes"},
		{"only additional information", "29020304", "0 bytes after the additional information"},
		{"no TPCI", "2900bce0110a090100", "7 bytes after the additional information, want at least 8"},
		{"APDU of 15 bytes with 1", "2900bce0110a09010f0080", "APDU length 15, but 1 bytes follow"},
		{"APDU of 1 byte with 2", "2900bce0110a0901010080ff", "APDU length 1, but 2 bytes follow"},
		{"data without an APDU", "2900bce0110a09010000", "data frame without an APDU"},
		{"control with an APDU", "2900b060110a1101018000", "APDU of 1 bytes in a transport control frame"},
		{"APDU of the reserved length", "29003ce0110a0901ff00" + strings.Repeat("80", 255), "at most 254"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l, err := frame.ParseLData(unhex(t, test.hex))
			wantError(t, l, err, test.want)
		})
	}
}

func TestMalformedBusmonitor(t *testing.T) {
	tests := []struct {
		name, hex, want string
	}{
		{"L_Data", "2900bce0110a0901010081", "L_Data.ind: want L_Busmon.ind"},
		{"no frame", "2b03030100", "no frame"},
		{"half an item", "2b0103cc", "ends within an item"},
		{"item beyond the end", "2b03030400cc", "ends within an item"},
		{"status of two bytes", "2b0403020000cc", "busmonitor status has 2 bytes, want 1"},
		{"timestamp of one byte", "2b03040100cc", "relative timestamp has 1 bytes, want 2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b, err := frame.ParseBusmonitor(unhex(t, test.hex))
			wantError(t, b, err, test.want)
		})
	}
}

func wantError(t *testing.T, got any, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatalf("read as %+v, want an error", got)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("error %q, want it to say %q", err, want)
	}
}

// TestNoLengthButTheRight cuts every good frame at every length and pads it: what the header announces is
// all there is, and nothing else passes.
func TestNoLengthButTheRight(t *testing.T) {
	var all []string
	for _, f := range frames {
		all = append(all, f.hex)
	}
	for _, r := range requests {
		all = append(all, r.hex)
	}
	for _, text := range all {
		datagram := unhex(t, text)
		for length := range datagram {
			if f, err := frame.Parse(datagram[:length]); err == nil {
				t.Errorf("%s cut to %d bytes was read as %+v", text, length, f)
			}
		}
		if f, err := frame.Parse(append(datagram, 0)); err == nil {
			t.Errorf("%s with a trailing byte was read as %+v", text, f)
		}
	}
	for _, r := range requests {
		cemi := unhex(t, r.hex)[10:]
		for length := range cemi {
			if l, err := frame.ParseLData(cemi[:length]); err == nil {
				t.Errorf("%x cut to %d bytes was read as %+v", cemi, length, l)
			}
		}
		if l, err := frame.ParseLData(append(cemi, 0)); err == nil {
			t.Errorf("%x with a trailing byte was read as %+v", cemi, l)
		}
	}
}
