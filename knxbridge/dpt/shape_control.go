package dpt

import (
	"fmt"
	"strings"
)

// controlled is a bit that counts only while another bit takes control (KNX
// 03_07_02 §3.2). Its text is "control on" or "no control on".
type controlled struct{ value boolean }

func (controlled) valid(payload) bool { return true }

func (c controlled) text(p payload) string {
	return control.text(payload{bits: p.bits >> 1}) + " " + c.value.text(p)
}

func (c controlled) json(p payload) any {
	return map[string]any{"control": p.bits>>1 == 1, "value": p.bits&1 == 1}
}

func (c controlled) limits() string {
	return fmt.Sprintf("control or no control, followed by %s or %s", c.value[0], c.value[1])
}

func (c controlled) parse(s, _ string) (payload, error) {
	if _, _, isObject, err := object(s); isObject || err != nil {
		return record{{"control", 1, control, "", ""}, {"value", 1, c.value, "", ""}}.parse(s, "")
	}
	text := strings.TrimSpace(s)
	for bit, word := range control {
		if len(text) > len(word) && strings.EqualFold(text[:len(word)], word) {
			p, err := c.value.parse(strings.TrimLeft(text[len(word):], " ,"), "")
			return payload{bits: uint64(bit)<<1 | p.bits}, err
		}
	}
	return payload{}, fmt.Errorf("%s: want %s", quote(s), c.limits())
}

var control = boolean{"no control", "control"}

// stepping is a direction and a step code, which is the number of halvings of
// the range plus one, or 0 to stop (KNX 03_07_02 §3.3). Its text is "increase 5"
// or "increase break".
type stepping struct{ direction direction }

// direction is a bit with the names of its type, and those of another type that
// say the same and are read too.
type direction struct {
	boolean
	also boolean
}

var (
	change = direction{decreaseIncrease, decreaseIncrease}
	// dimming goes up where it increases.
	dimming = direction{decreaseIncrease, boolean{"down", "up"}}
	// moving is that of blinds. What increases there, the standard leaves open (KNX
	// 03_07_02 §3.1).
	moving = direction{upDown, openClose}
)

func (d direction) parse(s, unit string) (payload, error) {
	if p, err := d.also.parse(s, unit); err == nil {
		return p, nil
	}
	return d.boolean.parse(s, unit)
}

func (stepping) valid(payload) bool { return true }

func (t stepping) text(p payload) string {
	direction := t.direction.text(payload{bits: p.bits >> 3})
	if p.bits&7 == 0 {
		return direction + " break"
	}
	return fmt.Sprintf("%s %d", direction, p.bits&7)
}

func (t stepping) json(p payload) any {
	return map[string]any{
		"direction": t.direction.text(payload{bits: p.bits >> 3}),
		"stepcode":  int64(p.bits & 7),
	}
}

func (t stepping) limits() string {
	return fmt.Sprintf("%s or %s, followed by a step code from 1 to 7, or break", t.direction.boolean[0], t.direction.boolean[1])
}

func (t stepping) parse(s, _ string) (payload, error) {
	if _, _, isObject, err := object(s); isObject || err != nil {
		return record{{"direction", 1, t.direction, "", ""}, {"stepcode", 3, u3, "", ""}}.parse(s, "")
	}
	words := strings.Fields(s)
	if len(words) == 1 && (strings.EqualFold(words[0], "break") || strings.EqualFold(words[0], "stop")) {
		return payload{}, nil
	}
	if len(words) != 2 {
		return payload{}, fmt.Errorf("%s: want %s", quote(s), t.limits())
	}
	direction, err := t.direction.parse(words[0], "")
	if err != nil {
		return payload{}, err
	}
	if strings.EqualFold(words[1], "break") || strings.EqualFold(words[1], "stop") {
		return payload{bits: direction.bits << 3}, nil
	}
	step, err := u3.parse(words[1], "")
	if err != nil {
		return payload{}, fmt.Errorf("step code: %w", err)
	}
	return payload{bits: direction.bits<<3 | step.bits}, nil
}

// sceneControl is 18.001: a scene to show, or to learn what is shown (KNX
// 03_07_02 §3.18). Scenes are raw, 0 to 63: ETS shows one more. Its text is
// "activate 5" or "learn 5".
type sceneControl struct{}

var sceneVerb = boolean{"activate", "learn"}

func (sceneControl) valid(p payload) bool { return p.bits&0x40 == 0 }

func (sceneControl) text(p payload) string {
	return fmt.Sprintf("%s %d", sceneVerb.text(payload{bits: p.bits >> 7}), p.bits&0x3F)
}

func (sceneControl) json(p payload) any {
	return map[string]any{"learn": p.bits>>7 == 1, "scene": int64(p.bits & 0x3F)}
}

func (sceneControl) limits() string { return "activate or learn, followed by a scene from 0 to 63" }

func (c sceneControl) parse(s, _ string) (payload, error) {
	if _, _, isObject, err := object(s); isObject || err != nil {
		return record{flag("learn"), reserved(1), {"scene", 6, u6, "", ""}}.parse(s, "")
	}
	words := strings.Fields(s)
	if len(words) == 1 {
		words = []string{sceneVerb[0], words[0]}
	}
	if len(words) != 2 {
		return payload{}, fmt.Errorf("%s: want %s", quote(s), c.limits())
	}
	verb, err := sceneVerb.parse(words[0], "")
	if err != nil {
		return payload{}, err
	}
	scene, err := u6.parse(words[1], "")
	if err != nil {
		return payload{}, fmt.Errorf("scene: %w", err)
	}
	return payload{bits: verb.bits<<7 | scene.bits}, nil
}
