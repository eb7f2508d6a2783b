// Package catalog loads products and their stock from CSV.
//
// The whole file is one transaction, and it is read and checked before the
// first statement: a file with a mistake in its last line changes nothing.
// Importing the same file again changes nothing either. A SKU that is new gets
// its stock as the initial stock; the stock of a SKU that exists is left alone,
// because sales have moved it since, unless SetStock asks for a recount, which
// leaves a movement of kind "adjust" so that stock stays initial plus movements.
//
// A SKU that the file does not name keeps its product and stock.
package catalog
