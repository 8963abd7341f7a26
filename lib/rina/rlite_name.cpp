#include "rina/rlite_name.hpp"

#include <array>

namespace sluice::rina {

bool has_control_character(std::string_view text) noexcept {
    unsigned char before = 0;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte == 0x7f) return true;
        if (before == 0xc2 && byte >= 0x80 && byte <= 0x9f) return true;
        before = byte;
    }
    return false;
}

bool is_name_part(std::string_view text) noexcept {
    return text.find('|') == std::string_view::npos && !has_control_character(text);
}

Result<AppName> parse_rlite_name(std::string_view text) {
    if (text.size() > kNameBytesMax)
        return fail(ENAMETOOLONG, "name of {} bytes, at most {} are possible", text.size(),
                    kNameBytesMax);
    if (has_control_character(text))
        return fail(EINVAL, "name has a control character; expected process|instance");
    AppName name;
    const std::array<std::string*, 4> parts = {&name.process, &name.instance, &name.entity,
                                               &name.entity_instance};
    std::size_t part = 0;
    for (const char c : text) {
        if (c != '|') {
            parts[part]->push_back(c);
        } else if (++part == parts.size()) {
            return fail(EINVAL,
                        "name has more than four parts; expected "
                        "process|instance|entity|entity-instance");
        }
    }
    if (name.process.empty())
        return fail(EINVAL, "name has no process name; expected process|instance");
    return name;
}

std::string rlite_name(const AppName& name) {
    std::string text =
        name.process + '|' + name.instance + '|' + name.entity + '|' + name.entity_instance;
    while (!text.empty() && text.back() == '|') text.pop_back();
    return text;
}

Result<std::string> checked_rlite_name(const AppName& name, std::size_t bytes_max) {
    if (name.process.empty()) return fail(EINVAL, "an application's name must not be empty");
    for (const std::string* part :
         {&name.process, &name.instance, &name.entity, &name.entity_instance})
        if (!is_name_part(*part))
            return fail(EINVAL, "a part of a name has a bar or a control character in it");
    std::string text = rlite_name(name);
    if (text.size() > bytes_max)
        return fail(ENAMETOOLONG, "the name {} has {} bytes, at most {} are possible here", text,
                    text.size(), bytes_max);
    return text;
}

}  // namespace sluice::rina
