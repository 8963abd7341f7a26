#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

// Messages for the operator. Never called on the packet path (scripts/tidy looks).

namespace sluice::log {

enum class Level : unsigned char { error = 0, warn = 1, info = 2, debug = 3 };

// Receives each finished line, without newline. The default sink writes "level scope: text" to
// standard error; roles install one that goes through rte_log.
using Sink = void (*)(Level, std::string_view scope, std::string_view text);

void set_sink(Sink sink) noexcept;
void set_level(Level level) noexcept;
Level level() noexcept;
std::string_view to_string(Level level) noexcept;
void write(Level level, std::string_view scope, std::string_view text);

template <typename... Args>
void error(std::string_view scope, fmt::format_string<Args...> format, Args&&... args) {
    write(Level::error, scope, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warn(std::string_view scope, fmt::format_string<Args...> format, Args&&... args) {
    if (level() >= Level::warn)
        write(Level::warn, scope, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void info(std::string_view scope, fmt::format_string<Args...> format, Args&&... args) {
    if (level() >= Level::info)
        write(Level::info, scope, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void debug(std::string_view scope, fmt::format_string<Args...> format, Args&&... args) {
    if (level() >= Level::debug)
        write(Level::debug, scope, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace sluice::log
