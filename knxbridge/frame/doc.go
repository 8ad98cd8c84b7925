// Package frame reads and writes KNXnet/IP frames and the cEMI messages in them.
//
// It is the gate between what a building sends and everything behind it. Parse takes a datagram and either
// returns one of the frame types of this package, whole and within the standard, or an error that says what
// is wrong. ParseLData and ParseBusmonitor do the same with the cEMI message of a TunnellingRequest. None of
// them panics, loops without end or keeps more memory than a small multiple of what came. Append and
// LData.Append are the way back.
//
// The package is pure: no I/O, no clock, no logging, no state. All functions may be called concurrently.
//
// # Where knx-go is used
//
// The codecs of github.com/vapourismo/knx-go panic or hang on malformed input and read some frames wrongly,
// so they see only bytes whose lengths were checked before, one structure at a time; its knxnet.Unpack and
// cemi.Unpack are never called. Tests compare the own codecs with knx-go's where knx-go is right.
//
//	frame                               codec   why
//	HPAI                                knx-go
//	CONNECTIONSTATE_REQUEST, _RESPONSE  knx-go
//	DISCONNECT_REQUEST, _RESPONSE       knx-go
//	DESCRIPTION_, SEARCH_REQUEST        knx-go  only a HPAI
//	CONNECT_REQUEST                     own     no extended connection request information
//	CONNECT_RESPONSE                    own     loses the individual address, panics when it is short
//	TUNNELLING_REQUEST, _ACK            own     the hot path; fails as a whole when the cEMI is broken
//	TUNNELLING_FEATURE_*                own     does not know them
//	DESCRIPTION_, SEARCH_RESPONSE       own     hangs on a block of length 0, panics on short ones
//	ROUTING_*                           own     reads them without a check of lengths, does not write them
//	L_Data                              own     zero-fills a short APDU, reads 4 of the APCI's 10 bits, shifts
//	                                            the hop count, panics on a short additional information
//	L_Busmon.ind                        own     does not read it
package frame
