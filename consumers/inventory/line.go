package inventory

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/gapless/gapless/contracts/gaplessv1"
)

// maxQuantity bounds the sum of one SKU in one order; beyond it a reply could
// not carry the quantity.
const maxQuantity = 1<<31 - 1

// line is a quantity of one SKU, as it stands in reservations.items.
type line struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
}

// merge adds up lines of the same SKU and sorts by SKU: a SKU named twice must
// not be judged twice against the same stock, and has one movement.
func merge(lines []*gaplessv1.StockLine) ([]line, error) {
	merged := make([]line, 0, len(lines))
	for _, l := range lines {
		if l.GetQuantity() <= 0 {
			return nil, fmt.Errorf("quantity %d of sku %q is not positive", l.GetQuantity(), l.GetSku())
		}
		merged = append(merged, line{SKU: l.GetSku(), Quantity: int64(l.GetQuantity())})
	}
	slices.SortFunc(merged, func(a, b line) int { return cmp.Compare(a.SKU, b.SKU) })
	n := 0
	for _, l := range merged {
		if n > 0 && merged[n-1].SKU == l.SKU {
			merged[n-1].Quantity += l.Quantity
			if merged[n-1].Quantity > maxQuantity {
				return nil, fmt.Errorf("quantities of sku %q add up to more than %d", l.SKU, maxQuantity)
			}
			continue
		}
		merged[n] = l
		n++
	}
	return merged[:n], nil
}

func toProto(lines []line) []*gaplessv1.StockLine {
	list := make([]*gaplessv1.StockLine, len(lines))
	for i, l := range lines {
		list[i] = &gaplessv1.StockLine{Sku: l.SKU, Quantity: int32(l.Quantity)}
	}
	return list
}
