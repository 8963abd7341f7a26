#pragma once

// Assertions are for programmers' errors only: a CHECK that fires is a bug in this program, never
// something that a packet, a peer or an operator did. Those get a DropReason or a Result.

namespace sluice {

[[noreturn]] void check_failed(const char* expression, const char* file, int line) noexcept;

}  // namespace sluice

#define SLUICE_CHECK(expression)                                       \
    do {                                                               \
        if (!(expression)) [[unlikely]]                                \
            ::sluice::check_failed(#expression, __FILE__, __LINE__);   \
    } while (false)

// DCHECK stands on the packet path: it is compiled in for debug, sanitizer and simulation builds.
#if !defined(NDEBUG) || defined(SLUICE_DCHECK_ON)
#define SLUICE_DCHECK(expression) SLUICE_CHECK(expression)
#else
#define SLUICE_DCHECK(expression) static_cast<void>(0)
#endif
