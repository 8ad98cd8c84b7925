package frame

import "fmt"

// DescriptionRequest asks one device for its description (KNX 03_08_02 Core §7.7.1).
type DescriptionRequest struct {
	Control HPAI // where the device answers to
}

// Service is DescriptionRequestService.
func (DescriptionRequest) Service() Service { return DescriptionRequestService }

func (r DescriptionRequest) appendBody(dst []byte) []byte { return r.Control.append(dst) }

func parseDescriptionRequest(body []byte) (Frame, error) {
	control, err := parseOnlyHPAI(body)
	return DescriptionRequest{Control: control}, err
}

// DescriptionResponse answers a DescriptionRequest (KNX 03_08_02 Core §7.7.2).
type DescriptionResponse struct {
	Description
}

// Service is DescriptionResponseService.
func (DescriptionResponse) Service() Service { return DescriptionResponseService }

func (r DescriptionResponse) appendBody(dst []byte) []byte { return r.append(dst) }

func parseDescriptionResponse(body []byte) (Frame, error) {
	description, err := parseDescription(body)
	return DescriptionResponse{Description: description}, err
}

// SearchRequest asks every device in reach for its description (KNX 03_08_02 Core §7.6.1).
type SearchRequest struct {
	Discovery HPAI // where devices answer to
}

// Service is SearchRequestService.
func (SearchRequest) Service() Service { return SearchRequestService }

func (r SearchRequest) appendBody(dst []byte) []byte { return r.Discovery.append(dst) }

func parseSearchRequest(body []byte) (Frame, error) {
	discovery, err := parseOnlyHPAI(body)
	return SearchRequest{Discovery: discovery}, err
}

// SearchResponse answers a SearchRequest (KNX 03_08_02 Core §7.6.2).
type SearchResponse struct {
	Control HPAI // where the device takes connections
	Description
}

// Service is SearchResponseService.
func (SearchResponse) Service() Service { return SearchResponseService }

func (r SearchResponse) appendBody(dst []byte) []byte {
	return r.Description.append(r.Control.append(dst))
}

func parseSearchResponse(body []byte) (Frame, error) {
	control, dibs, err := parseHPAI(body)
	if err != nil {
		return nil, fmt.Errorf("control endpoint: %w", err)
	}
	description, err := parseDescription(dibs)
	return SearchResponse{Control: control, Description: description}, err
}

func parseOnlyHPAI(body []byte) (HPAI, error) {
	if err := wantLength(body, hpaiLength); err != nil {
		return HPAI{}, err
	}
	hpai, _, err := parseHPAI(body)
	return hpai, err
}
