#include "base/log.hpp"

#include <atomic>
#include <cstdio>

namespace sluice::log {
namespace {

void to_stderr(Level at, std::string_view scope, std::string_view text) {
    const std::string_view name = to_string(at);
    std::fprintf(stderr, "%.*s %.*s: %.*s\n", static_cast<int>(name.size()), name.data(),
                 static_cast<int>(scope.size()), scope.data(), static_cast<int>(text.size()),
                 text.data());
}

std::atomic<Sink> current_sink{&to_stderr};
std::atomic<Level> current_level{Level::info};

}  // namespace

void set_sink(Sink sink) noexcept { current_sink.store(sink ? sink : &to_stderr); }
void set_level(Level level) noexcept { current_level.store(level, std::memory_order_relaxed); }
Level level() noexcept { return current_level.load(std::memory_order_relaxed); }

std::string_view to_string(Level level) noexcept {
    switch (level) {
        case Level::error: return "error";
        case Level::warn: return "warning";
        case Level::info: return "info";
        case Level::debug: return "debug";
    }
    return "?";
}

void write(Level level, std::string_view scope, std::string_view text) {
    current_sink.load()(level, scope, text);
}

}  // namespace sluice::log
