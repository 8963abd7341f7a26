#pragma once

#include <fmt/format.h>

#include <cerrno>
#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace sluice {

// What an operator or an application is told: an errno value for programs, and one sentence for
// people that says what was wrong, what was expected and where.
struct Error {
    int code = EINVAL;
    std::string message;
};

template <typename T = void>
using Result = tl::expected<T, Error>;

// return fail(EMSGSIZE, "SDU of {} bytes, at most {} are possible", size, limit);
template <typename... Args>
[[nodiscard]] tl::unexpected<Error> fail(int code, fmt::format_string<Args...> format,
                                         Args&&... args) {
    return tl::unexpected<Error>(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}

[[nodiscard]] inline tl::unexpected<Error> fail(Error error) {
    return tl::unexpected<Error>(std::move(error));
}

}  // namespace sluice

// SLUICE_TRY(auto port, open_port(x)); passes an error on to the caller.
#define SLUICE_TRY_CAT2(a, b) a##b
#define SLUICE_TRY_CAT(a, b) SLUICE_TRY_CAT2(a, b)
#define SLUICE_TRY(declaration, ...)                                             \
    auto SLUICE_TRY_CAT(sluice_try_, __LINE__) = (__VA_ARGS__);                  \
    if (!SLUICE_TRY_CAT(sluice_try_, __LINE__))                                  \
        return ::sluice::fail(std::move(SLUICE_TRY_CAT(sluice_try_, __LINE__).error())); \
    declaration = std::move(*SLUICE_TRY_CAT(sluice_try_, __LINE__))
#define SLUICE_TRY_VOID(...)                                                     \
    do {                                                                         \
        auto sluice_try_result = (__VA_ARGS__);                                  \
        if (!sluice_try_result) return ::sluice::fail(std::move(sluice_try_result.error())); \
    } while (false)
