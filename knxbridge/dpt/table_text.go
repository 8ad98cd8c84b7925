package dpt

// textFamilies are characters and texts (KNX 03_07_02 §3.4, §3.16, §3.24, §3.28,
// §3.46, §3.47).
var textFamilies = []family{
	{4, "character", 8, character{latin1}, []row{
		{1, "DPT_Char_ASCII", "", character{ascii}},
		{2, "DPT_Char_8859_1", "", character{latin1}},
	}},
	{16, "character string", 112, characters{14, latin1}, []row{
		{0, "DPT_String_ASCII", "", characters{14, ascii}},
		{1, "DPT_String_8859_1", "", characters{14, latin1}},
	}},
	{24, "variable string", 0, nil, []row{
		{1, "DPT_VarString_8859_1", "", characters{0, latin1}},
	}},
	{28, "variable UTF-8 string", 0, nil, []row{
		{1, "DPT_UTF-8", "", utf8Text{}},
	}},
	{231, "locale", 32, nil, []row{
		{1, "DPT_Locale_ASCII", "", record{{"language", 16, letters(2), "", ""}, {"region", 16, letters(2), "", ""}}},
	}},
	{234, "language or region code", 16, nil, []row{
		{1, "DPT_LanguageCodeAlpha2_ASCII", "", letters(2)},
		{2, "DPT_RegionCodeAlpha2_ASCII", "", letters(2)},
	}},
}
