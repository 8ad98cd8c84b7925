package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// checkNames finds a name in a YAML document that YAML does not read as a text, such as a
// label n, which is a truth value and would become the label false.
func checkNames(value any) error {
	switch value := value.(type) {
	case map[any]any:
		for name, below := range value {
			switch name.(type) {
			case string, int:
			default:
				return errors.New("a field or label has a name that YAML takes for no text (as y, n, yes, no, on, off, null and 1.5); put it in quotes")
			}
			if err := checkNames(below); err != nil {
				return err
			}
		}
	case []any:
		for _, item := range value {
			if err := checkNames(item); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkTypes finds what has another form in a file than its field wants, and says it as
// people write YAML, where a text that looks like a number is one. What protojson says
// well by itself is left to it. Nothing is repeated of a value, which may be a key.
func checkTypes(message protoreflect.MessageDescriptor, text json.RawMessage) error {
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return nil //nolint:nilerr // protojson says what is wrong
	}
	return checkFields("", message, value)
}

func checkFields(prefix string, message protoreflect.MessageDescriptor, value any) error {
	fields, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("%s must have fields below it, as in %s: {%s: …}", strings.TrimSuffix(prefix, "."), message.Name(), message.Fields().Get(0).JSONName())
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		field := message.Fields().ByJSONName(name)
		if field == nil {
			field = message.Fields().ByTextName(name)
		}
		if field == nil || fields[name] == nil {
			continue // protojson tells what does not exist, and takes what is empty
		}
		if err := checkField(prefix+name, field, fields[name]); err != nil {
			return err
		}
	}
	return nil
}

func checkField(path string, field protoreflect.FieldDescriptor, value any) error {
	switch {
	case field.IsMap():
		pairs, ok := value.(map[string]any)
		if !ok {
			return fmt.Errorf("%s must be pairs, as in %s: {region: south}", path, path)
		}
		for _, key := range slices.Sorted(maps.Keys(pairs)) {
			if err := checkOne(path+"."+strings.Trim(strconv.Quote(key), `"`), field.MapValue(), pairs[key]); err != nil {
				return err
			}
		}
		return nil
	case field.IsList():
		items, ok := value.([]any)
		if !ok {
			return fmt.Errorf("%s must be a list, as in %s: [first, second]", path, path)
		}
		for i, item := range items {
			if err := checkOne(fmt.Sprintf("%s[%d]", path, i), field, item); err != nil {
				return err
			}
		}
		return nil
	}
	return checkOne(path, field, value)
}

func checkOne(path string, field protoreflect.FieldDescriptor, value any) error {
	_, text := value.(string)
	switch {
	case field.Kind() == protoreflect.StringKind && !text:
		return fmt.Errorf("%s must be a text, and is not; put its value in quotes, as in \"1\"", path)
	case field.Message() == nil:
		return nil
	case field.Message().FullName() == "google.protobuf.Duration":
		if !text {
			return fmt.Errorf("%s must be a time with its unit, as in 25s", path)
		}
		return nil
	case strings.HasPrefix(string(field.Message().FullName()), "knxfleet."):
		return checkFields(path+".", field.Message(), value)
	}
	return nil
}
