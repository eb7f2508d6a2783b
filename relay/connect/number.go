package connect

import (
	"bytes"
	"math"
	"math/big"
	"strconv"
)

// appendDouble is Java's Double.toString, or Float.toString for 32 bits.
// https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/lang/Double.html#toString(double)
func appendDouble(b []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "NaN"...)
	case math.IsInf(f, 1):
		return append(b, "Infinity"...)
	case math.IsInf(f, -1):
		return append(b, "-Infinity"...)
	case f == 0:
		if math.Signbit(f) {
			return append(b, "-0.0"...)
		}
		return append(b, "0.0"...)
	}
	if a := math.Abs(f); a >= 1e-3 && a < 1e7 {
		start := len(b)
		b = strconv.AppendFloat(b, f, 'f', -1, bits)
		for _, c := range b[start:] {
			if c == '.' {
				return b
			}
		}
		return append(b, ".0"...)
	}
	var scratch [32]byte
	s := strconv.AppendFloat(scratch[:0], f, 'e', -1, bits)
	at := 0
	for s[at] != 'e' {
		at++
	}
	if mantissa := s[:at]; len(mantissa) <= 2 && mantissa[len(mantissa)-1] != '.' {
		// Where one digit tells the number from all others, Java takes the nearest of
		// two digits, which is not always the same number with a zero.
		two := strconv.AppendFloat(scratch[:0:0], f, 'e', 1, bits)
		if back, err := strconv.ParseFloat(string(two), bits); err == nil && back == f {
			s = two
			for at = 0; s[at] != 'e'; at++ {
			}
		} else {
			s = append(append(append(scratch[:0:0], mantissa...), ".0"...), s[at:]...)
			at += 2
		}
	}
	b = append(append(b, s[:at]...), 'E')
	exponent := s[at+1:]
	if exponent[0] == '-' {
		b = append(b, '-')
	}
	exponent = exponent[1:]
	for len(exponent) > 1 && exponent[0] == '0' {
		exponent = exponent[1:]
	}
	return append(b, exponent...)
}

// appendDecimal is Java's BigDecimal.toString.
// https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/math/BigDecimal.html#toString()
func appendDecimal(b []byte, unscaled *big.Int, scale int32) []byte {
	digits := unscaled.Append(nil, 10)
	if digits[0] == '-' {
		b, digits = append(b, '-'), digits[1:]
	}
	adjusted := int64(len(digits)-1) - int64(scale)
	if scale >= 0 && adjusted >= -6 {
		point := len(digits) - int(scale)
		switch {
		case scale == 0:
			return append(b, digits...)
		case point > 0:
			return append(append(append(b, digits[:point]...), '.'), digits[point:]...)
		}
		b = append(b, "0."...)
		for range -point {
			b = append(b, '0')
		}
		return append(b, digits...)
	}
	b = append(b, digits[0])
	if len(digits) > 1 {
		b = append(append(b, '.'), digits[1:]...)
	}
	if adjusted == 0 {
		return b
	}
	b = append(b, 'E')
	if adjusted > 0 {
		b = append(b, '+')
	}
	return strconv.AppendInt(b, adjusted, 10)
}

// AppendPlain is Java's BigDecimal.toPlainString.
func AppendPlain(b []byte, unscaled *big.Int, scale int32) []byte {
	digits := unscaled.Append(nil, 10)
	if digits[0] == '-' {
		b, digits = append(b, '-'), digits[1:]
	}
	if missing := int(scale) + 1 - len(digits); missing > 0 {
		digits = append(bytes.Repeat([]byte{'0'}, missing), digits...)
	}
	point := len(digits) - int(scale)
	b = append(b, digits[:point]...)
	if scale > 0 {
		b = append(append(b, '.'), digits[point:]...)
	}
	return b
}

// AppendTwos is Java's BigInteger.toByteArray: two's complement, big end first, no
// longer than it must be.
func AppendTwos(b []byte, n *big.Int) []byte {
	if n.Sign() >= 0 {
		if n.BitLen()%8 == 0 {
			b = append(b, 0)
		}
		return append(b, n.Bytes()...)
	}
	// -n-1 has the bits of n turned over.
	turned := new(big.Int).Not(n)
	if turned.BitLen()%8 == 0 {
		b = append(b, 0xff)
	}
	start := len(b)
	b = append(b, turned.Bytes()...)
	for i := start; i < len(b); i++ {
		b[i] = ^b[i]
	}
	return b
}
