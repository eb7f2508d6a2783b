package api

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of an order.
const (
	maxItems    = 100
	maxQuantity = 10_000
	// maxTotal is the largest integer that every JSON reader keeps exactly.
	maxTotal = 1<<53 - 1
	// maxFaults bounds the errors[] of one answer.
	maxFaults = 50
)

// decodeOrder reads a body strictly. It returns every fault at once.
func decodeOrder(body []byte) (*PlaceOrder, error) {
	root, err := parseJSON(body)
	if err != nil {
		return nil, err
	}
	var f faults
	o := readOrder(&f, root)
	if len(f.list) > 0 {
		return nil, &problem{kind: kindInvalid, detail: f.summary(), faults: f.list}
	}
	return o, nil
}

func readOrder(f *faults, root node) *PlaceOrder {
	top, ok := f.object(root, "", "customer_id", "currency", "items", "shipping_address", "payment_token", "plan")
	if !ok {
		return nil
	}
	plan := Standard
	o := &PlaceOrder{
		CustomerID:   f.text(top, "", "customer_id", 1, 128, nil),
		Currency:     f.text(top, "", "currency", 3, 3, upper),
		PaymentToken: f.text(top, "", "payment_token", 1, 128, token),
		Plan:         &plan,
	}
	if n, ok := top.fields["plan"]; ok {
		switch {
		case n.kind != isString:
			f.add("/plan", "wrong_type", "is %s, a string is wanted", n.kindName())
		case !Plan(n.text).Valid():
			f.add("/plan", "unknown_value", "is neither standard nor trial")
		default:
			plan = Plan(n.text)
		}
	}
	o.Items = readItems(f, top)
	if n, ok := f.required(top, "", "shipping_address"); ok {
		o.ShippingAddress = readAddress(f, n)
	}
	return o
}

func readItems(f *faults, top node) []PlaceOrderItem {
	n, ok := f.required(top, "", "items")
	switch {
	case !ok:
		return nil
	case n.kind != isArray:
		f.add("/items", "wrong_type", "is %s, an array is wanted", n.kindName())
		return nil
	case len(n.items) == 0:
		f.add("/items", "too_few", "is empty; an order has at least one item")
	case len(n.items) > maxItems:
		f.add("/items", "too_many", "has %d items; an order has at most %d", len(n.items), maxItems)
		return nil
	}
	items := make([]PlaceOrderItem, len(n.items))
	seen := make(map[string]int, len(n.items))
	for i, item := range n.items {
		at := "/items/" + strconv.Itoa(i)
		fields, ok := f.object(item, at, "sku", "quantity")
		if !ok {
			continue
		}
		sku := f.text(fields, at, "sku", 1, 64, nil)
		if first, twice := seen[sku]; twice && sku != "" {
			f.add(at+"/sku", "duplicate", "is in item %d already; add the quantities", first)
		}
		seen[sku] = i
		items[i] = PlaceOrderItem{Sku: sku, Quantity: f.quantity(fields, at)}
	}
	return items
}

func readAddress(f *faults, n node) Address {
	const at = "/shipping_address"
	fields, ok := f.object(n, at, "line1", "line2", "city", "region", "postal_code", "country")
	if !ok {
		return Address{}
	}
	optional := func(name string, limit int) *string {
		if _, ok := fields.fields[name]; !ok {
			return nil
		}
		s := f.text(fields, at, name, 0, limit, nil)
		return &s
	}
	return Address{
		Line1:      f.text(fields, at, "line1", 1, 200, nil),
		Line2:      optional("line2", 200),
		City:       f.text(fields, at, "city", 1, 100, nil),
		Region:     optional("region", 100),
		PostalCode: f.text(fields, at, "postal_code", 1, 20, nil),
		Country:    f.text(fields, at, "country", 2, 2, upper),
	}
}

// requestHash tells whether two bodies ask for the same order: member order,
// white space and a default that is written out make no difference. Fields that
// come later must be left out when they are absent, or a key that spans an
// upgrade would no longer match.
func requestHash(o *PlaceOrder) ([]byte, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("hash request: %w", err)
	}
	sum := sha256.Sum256(text)
	return sum[:], nil
}

func decodeReview(body []byte) (ReviewDecision, error) {
	root, err := parseJSON(body)
	if err != nil {
		return "", err
	}
	var f faults
	var decision ReviewDecision
	if fields, ok := f.object(root, "", "decision"); ok {
		decision = ReviewDecision(f.text(fields, "", "decision", 1, 16, nil))
		if len(f.list) == 0 && !decision.Valid() {
			f.add("/decision", "unknown_value", "is neither approve nor reject")
		}
	}
	if len(f.list) > 0 {
		return "", &problem{kind: kindInvalidReview, detail: f.summary(), faults: f.list}
	}
	return decision, nil
}

// faults collects what is wrong with a body.
type faults struct {
	list  []ProblemError
	total int
}

func (f *faults) add(pointer, code, format string, args ...any) {
	if f.total++; len(f.list) < maxFaults {
		f.list = append(f.list, ProblemError{Pointer: pointer, Code: code, Detail: fmt.Sprintf(format, args...)})
	}
}

func (f *faults) summary() string {
	first := f.list[0].Pointer + " " + f.list[0].Detail
	if f.total > 1 {
		return fmt.Sprintf("%s, and %d more", first, f.total-1)
	}
	return first
}

// object checks that n is one and has no other fields than those.
func (f *faults) object(n node, pointer string, known ...string) (node, bool) {
	if n.kind != isObject {
		f.add(pointer, "wrong_type", "is %s, an object is wanted", n.kindName())
		return n, false
	}
	for _, name := range n.names {
		if !slices.Contains(known, name) {
			f.add(pointer+"/"+escapePointer(name), "unknown_key", "is not known")
		}
	}
	return n, true
}

func (f *faults) required(n node, pointer, name string) (node, bool) {
	field, ok := n.fields[name]
	if !ok {
		f.add(pointer+"/"+name, "missing", "is missing")
	}
	return field, ok
}

// text reads a string of least to most characters, each of which ok takes.
func (f *faults) text(n node, pointer, name string, least, most int, ok func(rune) bool) string {
	field, there := f.required(n, pointer, name)
	if !there {
		return ""
	}
	at := pointer + "/" + name
	if field.kind != isString {
		f.add(at, "wrong_type", "is %s, a string is wanted", field.kindName())
		return ""
	}
	count := utf8.RuneCountInString(field.text)
	switch {
	case strings.IndexFunc(field.text, unicode.IsControl) >= 0:
		f.add(at, "control_character", "has a control character")
	case count < least && least == 1:
		f.add(at, "too_short", "is empty")
	case count < least || count > most && least == most:
		f.add(at, "wrong_length", "has %d characters, %d are wanted", count, least)
	case count > most:
		f.add(at, "too_long", "has %d characters, at most %d are allowed", count, most)
	case ok != nil && strings.IndexFunc(field.text, func(r rune) bool { return !ok(r) }) >= 0:
		f.add(at, "wrong_character", "has a character that does not belong there")
	case least > 0 && strings.TrimSpace(field.text) == "":
		f.add(at, "blank", "is blank")
	default:
		return field.text
	}
	return ""
}

func (f *faults) quantity(n node, pointer string) int32 {
	field, there := f.required(n, pointer, "quantity")
	if !there {
		return 0
	}
	at := pointer + "/quantity"
	if field.kind != isNumber {
		f.add(at, "wrong_type", "is %s, a number is wanted", field.kindName())
		return 0
	}
	if strings.ContainsAny(field.text, ".eE") {
		f.add(at, "not_an_integer", "is not written as a whole number")
		return 0
	}
	// What ParseInt cannot hold is out of range as well.
	q, err := strconv.ParseInt(field.text, 10, 32)
	if err != nil || q < 1 || q > maxQuantity {
		f.add(at, "out_of_range", "must be between 1 and %d", maxQuantity)
		return 0
	}
	return int32(q)
}

func upper(r rune) bool { return r >= 'A' && r <= 'Z' }

func token(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.'
}
