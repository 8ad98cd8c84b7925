package frame

import "fmt"

// Header of every KNXnet/IP frame (KNX 03_08_01 Overview, common header): its length, the protocol version 1.0,
// the service, and the length of the whole frame.
const (
	headerLength    = 0x06
	protocolVersion = 0x10
)

// MaxDatagram is the longest frame that the total length of the header can tell.
const MaxDatagram = 0xFFFF

// Service identifies a KNXnet/IP service. The high octet is the service family.
type Service uint16

// Services of the KNX standard. Parse reads those that have a frame type in this package.
const (
	// Core, KNX 03_08_02 §7.6 to §7.8.
	SearchRequestService           Service = 0x0201
	SearchResponseService          Service = 0x0202
	DescriptionRequestService      Service = 0x0203
	DescriptionResponseService     Service = 0x0204
	ConnectRequestService          Service = 0x0205
	ConnectResponseService         Service = 0x0206
	ConnectionStateRequestService  Service = 0x0207
	ConnectionStateResponseService Service = 0x0208
	DisconnectRequestService       Service = 0x0209
	DisconnectResponseService      Service = 0x020A
	SearchRequestExtendedService   Service = 0x020B
	SearchResponseExtendedService  Service = 0x020C

	// Device management, KNX 03_08_03.
	DeviceConfigurationRequestService Service = 0x0310
	DeviceConfigurationAckService     Service = 0x0311

	// Tunnelling, KNX 03_08_04.
	TunnellingRequestService Service = 0x0420
	TunnellingAckService     Service = 0x0421
	FeatureGetService        Service = 0x0422
	FeatureResponseService   Service = 0x0423
	FeatureSetService        Service = 0x0424
	FeatureInfoService       Service = 0x0425

	// Routing, KNX 03_08_05.
	RoutingIndicationService      Service = 0x0530
	RoutingLostService            Service = 0x0531
	RoutingBusyService            Service = 0x0532
	RoutingSystemBroadcastService Service = 0x0533

	// Secure, KNX 03_08_09.
	SecureWrapperService       Service = 0x0950
	SessionRequestService      Service = 0x0951
	SessionResponseService     Service = 0x0952
	SessionAuthenticateService Service = 0x0953
	SessionStatusService       Service = 0x0954
	TimerNotifyService         Service = 0x0955
)

// String gives the standard's name, such as TUNNELLING_REQUEST, or the number of a service without one.
func (s Service) String() string {
	if name := s.name(); name != "" {
		return name
	}
	return fmt.Sprintf("service 0x%04X", uint16(s))
}

// Known tells whether the standard has a name for the service.
func (s Service) Known() bool { return s.name() != "" }

func (s Service) name() string {
	switch s {
	case SearchRequestService:
		return "SEARCH_REQUEST"
	case SearchResponseService:
		return "SEARCH_RESPONSE"
	case DescriptionRequestService:
		return "DESCRIPTION_REQUEST"
	case DescriptionResponseService:
		return "DESCRIPTION_RESPONSE"
	case ConnectRequestService:
		return "CONNECT_REQUEST"
	case ConnectResponseService:
		return "CONNECT_RESPONSE"
	case ConnectionStateRequestService:
		return "CONNECTIONSTATE_REQUEST"
	case ConnectionStateResponseService:
		return "CONNECTIONSTATE_RESPONSE"
	case DisconnectRequestService:
		return "DISCONNECT_REQUEST"
	case DisconnectResponseService:
		return "DISCONNECT_RESPONSE"
	case SearchRequestExtendedService:
		return "SEARCH_REQUEST_EXTENDED"
	case SearchResponseExtendedService:
		return "SEARCH_RESPONSE_EXTENDED"
	case DeviceConfigurationRequestService:
		return "DEVICE_CONFIGURATION_REQUEST"
	case DeviceConfigurationAckService:
		return "DEVICE_CONFIGURATION_ACK"
	case TunnellingRequestService:
		return "TUNNELLING_REQUEST"
	case TunnellingAckService:
		return "TUNNELLING_ACK"
	case FeatureGetService:
		return "TUNNELLING_FEATURE_GET"
	case FeatureResponseService:
		return "TUNNELLING_FEATURE_RESPONSE"
	case FeatureSetService:
		return "TUNNELLING_FEATURE_SET"
	case FeatureInfoService:
		return "TUNNELLING_FEATURE_INFO"
	case RoutingIndicationService:
		return "ROUTING_INDICATION"
	case RoutingLostService:
		return "ROUTING_LOST_MESSAGE"
	case RoutingBusyService:
		return "ROUTING_BUSY"
	case RoutingSystemBroadcastService:
		return "ROUTING_SYSTEM_BROADCAST"
	case SecureWrapperService:
		return "SECURE_WRAPPER"
	case SessionRequestService:
		return "SESSION_REQUEST"
	case SessionResponseService:
		return "SESSION_RESPONSE"
	case SessionAuthenticateService:
		return "SESSION_AUTHENTICATE"
	case SessionStatusService:
		return "SESSION_STATUS"
	case TimerNotifyService:
		return "TIMER_NOTIFY"
	}
	return ""
}
