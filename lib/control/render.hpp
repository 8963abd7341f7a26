#pragma once

#include <string>

#include "control/value.hpp"

namespace sluice::control {

// For people. An array of objects is an aligned table with a header row (numbers to the right), an
// object is key and value lines (nested objects indented, nested arrays of objects as tables), an
// array of scalars is one a line, a string is itself, null is nothing. Ends with a newline unless
// empty. Control characters are shown as '?', so that a name from a peer cannot drive the terminal.
std::string render(const Value& value);

// For programs. Bytes that are not UTF-8 become U+FFFD; never fails.
std::string render_json(const Value& value, bool pretty);

}  // namespace sluice::control
