package dpt

import "slices"

// families returns the whole table. To add a type, add its row to the family of
// its main number; to add a main number, add a family to the list of its field.
func families() []family {
	return slices.Concat(
		bitFamilies, numberFamilies, floatFamilies, textFamilies, timeFamilies,
		enumFamilies, flagFamilies, recordFamilies, hvacFamilies, meteringFamilies,
		lightingFamilies, shutterFamilies,
	)
}
