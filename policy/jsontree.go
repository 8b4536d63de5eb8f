package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// value is a JSON value that has kept the order and the repetitions of its
// members, which decoding into structs or maps would lose.
type value struct {
	kind    valueKind
	text    string // of strings and numbers; "true" or "false"
	members []member
	items   []value
}

type member struct {
	name  string
	value value
}

type valueKind uint8

const (
	nullValue valueKind = iota
	stringValue
	numberValue
	boolValue
	objectValue
	arrayValue
)

func (k valueKind) String() string {
	return [...]string{"null", "a string", "a number", "a boolean", "an object", "an array"}[k]
}

// maxDepth bounds nesting; the value of a condition stands on the seventh level.
const maxDepth = 8

// readTree parses exactly one JSON value.
func readTree(doc []byte) (value, error) {
	if !utf8.Valid(doc) {
		return value{}, errors.New("not valid UTF-8")
	}
	var raw json.RawMessage
	if err := json.Unmarshal(doc, &raw); err != nil {
		if at, ok := errors.AsType[*json.SyntaxError](err); ok {
			return value{}, fmt.Errorf("not one JSON object: %w at byte %d", err, at.Offset)
		}
		return value{}, fmt.Errorf("not one JSON object: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	return readValue(d, 1)
}

func readValue(d *json.Decoder, depth int) (v value, err error) {
	if depth > maxDepth {
		return v, fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	tok, err := d.Token()
	if err != nil {
		return v, err
	}
	switch t := tok.(type) {
	case string:
		return value{kind: stringValue, text: t}, nil
	case json.Number:
		return value{kind: numberValue, text: t.String()}, nil
	case bool:
		return value{kind: boolValue, text: fmt.Sprint(t)}, nil
	case json.Delim:
		v.kind = arrayValue
		if t == '{' {
			v.kind = objectValue
		}
		for d.More() {
			var m member
			if v.kind == objectValue {
				name, err := d.Token()
				if err != nil {
					return v, err
				}
				m.name, _ = name.(string)
			}
			if m.value, err = readValue(d, depth+1); err != nil {
				return v, err
			}
			if v.kind == objectValue {
				v.members = append(v.members, m)
			} else {
				v.items = append(v.items, m.value)
			}
		}
		_, err = d.Token() // the closing bracket
		return v, err
	}
	return v, nil // null
}

// get finds a member of an object.
func (v *value) get(name string) *value {
	for i := range v.members {
		if v.members[i].name == name {
			return &v.members[i].value
		}
	}
	return nil
}
