package load

// Scenario is one kind of order and the end that it must come to.
type Scenario struct {
	Name string
	// Weight is its share among all scenarios.
	Weight int

	SKU        string
	Quantity   int
	Token      string
	PostalCode string
	Line1      string
	Plan       string

	// Then is what somebody does after placement: "", "approve", "reject" (once
	// the order is in review) or "cancel" (at once).
	Then string

	// Ends lists the possible ends, as status or status/reason. More than one
	// only where a race decides, as with a customer who cancels.
	Ends []string
}

// Mix is every outcome of the sandbox, the common ones more often. The demo's
// catalogue has the SKUs.
func Mix() []Scenario {
	base := Scenario{SKU: "A-1", Quantity: 1, Token: "tok_ok", PostalCode: "94107", Line1: "1 Main St", Plan: "standard", Ends: []string{"confirmed"}}
	with := func(name string, weight int, change func(*Scenario)) Scenario {
		s := base
		s.Name, s.Weight = name, weight
		change(&s)
		return s
	}
	return []Scenario{
		with("paid", 56, func(*Scenario) {}),
		with("three lamps", 8, func(s *Scenario) { s.SKU, s.Quantity = "A-3", 3 }),
		with("trial", 6, func(s *Scenario) { s.Plan = "trial" }),
		with("declined", 6, func(s *Scenario) { s.Token, s.Ends = "tok_declined", []string{"cancelled/payment_declined"} }),
		with("flaky gateway", 5, func(s *Scenario) { s.Token = "tok_flaky" }),
		with("lost answer", 5, func(s *Scenario) { s.Token = "tok_lost" }),
		with("slow gateway", 1, func(s *Scenario) { s.Token = "tok_slow" }),
		with("out of stock", 5, func(s *Scenario) { s.SKU, s.Ends = "Z-0", []string{"cancelled/out_of_stock"} }),
		with("review approved", 3, func(s *Scenario) { s.PostalCode, s.Then = "00000", "approve" }),
		with("review rejected", 2, func(s *Scenario) {
			s.PostalCode, s.Then, s.Ends = "00000", "reject", []string{"cancelled/review_rejected"}
		}),
		with("shipment fails", 1, func(s *Scenario) { s.Line1, s.Ends = "fail", []string{"cancelled/fulfillment_failed"} }),
		with("customer cancels", 2, func(s *Scenario) {
			s.Then, s.Ends = "cancel", []string{"cancelled/customer_cancelled", "confirmed"}
		}),
	}
}

// deal hands scenarios out so that any run of the sum of weights has each in
// its share, and a short run has as many different ones as it can.
func deal(mix []Scenario, n int) []Scenario {
	list := make([]Scenario, 0, n)
	left := make([]int, len(mix))
	for len(list) < n {
		dealt := false
		for i := range mix {
			if left[i] > 0 && len(list) < n {
				left[i]--
				list = append(list, mix[i])
				dealt = true
			}
		}
		if !dealt {
			for i := range mix {
				left[i] = mix[i].Weight
			}
		}
	}
	return list
}
