package bed

import (
	"cmp"
	"slices"
)

// Median of what there is; of an even number the upper one, of none the zero value.
func Median[T cmp.Ordered](list []T) (m T) {
	if len(list) == 0 {
		return m
	}
	list = slices.Clone(list)
	slices.Sort(list)
	return list[len(list)/2]
}
