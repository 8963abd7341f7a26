#include "control/render.hpp"

#include <algorithm>
#include <vector>

namespace sluice::control {
namespace {

constexpr std::size_t kGap = 2;

// Code points, near enough to columns for names and numbers.
std::size_t width(std::string_view text) noexcept {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    }));
}

std::string harmless(std::string_view text) {
    std::string result(text);
    for (char& c : result)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    return result;
}

bool is_row_list(const Value& value) {
    return value.is_array() && !value.empty() &&
           std::all_of(value.begin(), value.end(), [](const Value& v) { return v.is_object(); });
}

bool is_nested(const Value& value) {
    return (value.is_object() && !value.empty()) || is_row_list(value);
}

// One value in one cell or behind one key.
std::string cell(const Value& value) {
    if (value.is_null()) return "-";
    if (value.is_string()) return harmless(value.get_ref<const std::string&>());
    if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
    if (value.is_array() && std::none_of(value.begin(), value.end(), [](const Value& v) {
            return v.is_structured();
        })) {
        std::string result;
        for (const Value& item : value) result += (result.empty() ? "" : ", ") + cell(item);
        return result.empty() ? "-" : result;
    }
    return harmless(render_json(value, false));
}

std::string padded(const std::string& text, std::size_t to, bool right) {
    const std::size_t have = width(text);
    const std::string fill(to > have ? to - have : 0, ' ');
    return right ? fill + text : text + fill;
}

void put_line(std::string& out, std::size_t indent, std::string line) {
    while (!line.empty() && line.back() == ' ') line.pop_back();
    out += std::string(indent, ' ') + line + "\n";
}

void put_table(std::string& out, const Value& rows, std::size_t indent) {
    struct Column {
        std::string key;
        bool numeric = true;
        std::size_t width = 0;
    };
    // The union of all rows' keys: rows of different kinds may lack some.
    std::vector<Column> columns;
    for (const Value& row : rows)
        for (const auto& [key, value] : row.items())
            if (std::none_of(columns.begin(), columns.end(),
                             [&k = key](const Column& c) { return c.key == k; }))
                columns.push_back({key, true, width(harmless(key))});
    for (Column& column : columns) {
        for (const Value& row : rows) {
            const auto found = row.find(column.key);
            if (found == row.end()) continue;
            column.width = std::max(column.width, width(cell(*found)));
            if (!found->is_number() && !found->is_null()) column.numeric = false;
        }
    }
    const auto put_row = [&](const auto& text_of) {
        std::string line;
        for (const Column& column : columns) {
            if (!line.empty()) line += std::string(kGap, ' ');
            line += padded(text_of(column), column.width, column.numeric);
        }
        put_line(out, indent, std::move(line));
    };
    put_row([](const Column& column) { return harmless(column.key); });
    for (const Value& row : rows)
        put_row([&](const Column& column) {
            const auto found = row.find(column.key);
            return found == row.end() ? std::string("-") : cell(*found);
        });
}

void put_object(std::string& out, const Value& object, std::size_t indent) {
    std::size_t keys = 0;
    for (const auto& [key, value] : object.items())
        if (!is_nested(value)) keys = std::max(keys, width(harmless(key)));
    for (const auto& [key, value] : object.items()) {
        const std::string name = harmless(key);
        if (!is_nested(value)) {
            put_line(out, indent, padded(name + ":", keys + 1, false) + " " + cell(value));
        } else {
            put_line(out, indent, name + ":");
            if (value.is_object())
                put_object(out, value, indent + 2);
            else
                put_table(out, value, indent + 2);
        }
    }
}

}  // namespace

std::string render(const Value& value) {
    std::string out;
    if (value.is_null()) return out;
    if (value.is_string()) {
        // Text of our own making: its line ends and tabs are meant.
        for (const char c : value.get_ref<const std::string&>()) {
            const auto byte = static_cast<unsigned char>(c);
            out += (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f ? '?' : c;
        }
        if (!out.empty() && out.back() != '\n') out += '\n';
        return out;
    }
    if (is_row_list(value))
        put_table(out, value, 0);
    else if (value.is_object())
        put_object(out, value, 0);
    else if (value.is_array())
        for (const Value& item : value) out += cell(item) + "\n";
    else
        out = cell(value) + "\n";
    return out;
}

std::string render_json(const Value& value, bool pretty) {
    return value.dump(pretty ? 2 : -1, ' ', false, Value::error_handler_t::replace);
}

}  // namespace sluice::control
