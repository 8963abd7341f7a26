#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "rina/names.hpp"

// Names as rlite writes them (its rina_name_to_string): "process|instance|entity|entity-instance",
// trailing empty parts left out with their bars. In this form they travel in RINA-ARP and wherever
// an object names an IPC process by one string.
namespace sluice::rina {

// Control characters of ASCII and, as UTF-8, of ISO 8859: what a terminal might act upon. Bytes
// that are no UTF-8 are let through, for they do nothing there.
bool has_control_character(std::string_view text) noexcept;

// A part of a name: nothing for terminals to act upon, and no bar, which would make another part.
bool is_name_part(std::string_view text) noexcept;

// A '/' is an ordinary character here. Refuses what AppName::parse refuses, '/' apart.
Result<AppName> parse_rlite_name(std::string_view text);

// The parts must be is_name_part() each, as those of a parsed name are.
std::string rlite_name(const AppName& name);

// The same of any name: EINVAL: nothing in it, or a part that is no is_name_part(); ENAMETOOLONG:
// over `bytes_max` in this form.
Result<std::string> checked_rlite_name(const AppName& name, std::size_t bytes_max);

}  // namespace sluice::rina
