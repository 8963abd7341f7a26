#include <openssl/evp.h>

#include <catch2/catch.hpp>

#include "enrollment_nodes.hpp"
#include "normal_dif/core/sdu_protection/aes_gcm.hpp"
#include "normal_dif/core/sdu_protection/secrets.hpp"

// A system may forbid algorithms (in openssl.cnf): that ends handshakes, and never weakens one.
namespace sluice::mgmt {
namespace {

// No algorithm is to be had meanwhile, as with properties of a provider that is not installed.
struct WithoutAlgorithms {
    WithoutAlgorithms() { REQUIRE(EVP_set_default_properties(nullptr, "provider=none") == 1); }
    ~WithoutAlgorithms() { EVP_set_default_properties(nullptr, ""); }
};

bool begins(const std::string& text, std::string_view with) { return text.rfind(with, 0) == 0; }

bool all_ones(std::span<std::byte> out) {
    for (std::byte& b : out) b = std::byte{1};
    return true;
}
AuthConfig config_of(const char* policy) {
    AuthConfig config{policy, std::string(64, '5'), {}, {}};
    config.entropy = all_ones;
    return config;
}

TEST_CASE("Without its algorithms, protection is refused with a reason", "[crypto]") {
    sdup::AesGcmSealer sealer({});
    sdup::AesGcmOpener opener({});
    std::array<std::byte, 32> out{};
    const WithoutAlgorithms none;
    const auto sealed = sealer.install(sdup::KeyEpoch{1}, sdup::TrafficKey{});
    REQUIRE_FALSE(sealed);
    CHECK(sealed.error().code == ENOTSUP);
    CHECK(begins(sealed.error().message, "libcrypto cannot do AES-128-GCM: "));
    CHECK_FALSE(opener.install(sdup::KeyEpoch{1}, sdup::TrafficKey{}));
    CHECK(sealer.wants_key());
    CHECK_FALSE(opener.epoch());
    const auto keys = sdup::derive_keys(sdup::Cipher::aes_256_gcm, out, out, sdup::KeyEpoch{1});
    REQUIRE_FALSE(keys);
    CHECK(begins(keys.error().message, "libcrypto cannot do HKDF: "));
    sdup::Mac mac{};
    CHECK_FALSE(sdup::hmac_sha256(out, out, mac));
}

TEST_CASE("Without its algorithms, no secret is taken", "[crypto]") {
    const WithoutAlgorithms none;
    const auto psk = Authenticator::create(config_of("psk"), "a.IPCP", "e.DIF");
    REQUIRE_FALSE(psk);
    CHECK(begins(psk.error().message, "libcrypto cannot do HKDF: "));
    const auto password = Authenticator::create(config_of("password"), "a.IPCP", "e.DIF");
    REQUIRE_FALSE(password);
    CHECK(begins(password.error().message, "libcrypto cannot do scrypt: "));
}

TEST_CASE("Algorithms that go away let nobody in", "[crypto]") {
    // One message more each time, from the challenge to the confirmation.
    for (int messages = 1; messages <= 3; ++messages) {
        CAPTURE(messages);
        AuthConfig of_a = config_of("psk"), of_b = config_of("psk");
        of_b.entropy = [](std::span<std::byte> out) {
            for (std::byte& b : out) b = std::byte{2};
            return true;
        };
        Node a("a.IPCP", true, *Authenticator::create(of_a, "a.IPCP", "e.DIF"));
        Node b("b.IPCP", false, *Authenticator::create(of_b, "b.IPCP", "e.DIF"));
        Instant now{1'000'000'000};
        a.machine.flow_accepted(now, kPort);
        b.machine.flow_up(now, kPort, "a.IPCP");
        for (int i = 0; i < messages; ++i) {
            Node& from = i % 2 == 0 ? b : a;
            Node& to = i % 2 == 0 ? a : b;
            REQUIRE_FALSE(from.wire.empty());
            const CdapMessage m = from.wire.front().message;
            from.wire.pop_front();
            to.machine.received(now, kPort, m);
        }
        const WithoutAlgorithms none;
        exchange(now, a, b);
        CHECK_FALSE(b.member);
        CHECK_FALSE(b.machine.is_up(kPort));
        CHECK_FALSE(a.machine.is_up(kPort));
        CHECK_FALSE(b.machine.session_secret(kPort));
    }
}

}  // namespace
}  // namespace sluice::mgmt
