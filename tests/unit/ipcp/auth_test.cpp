#include <catch2/catch.hpp>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "base/rng.hpp"
#include "enrollment_nodes.hpp"
#include "normal_dif/core/ipcp/ipcp.hpp"
#include "normal_dif/core/sdu_protection/aes_gcm.hpp"

namespace sluice::mgmt {
namespace {

// Different numbers at each call, the same in each run.
Entropy numbers(std::uint64_t seed) {
    return [rng = Rng(seed)](std::span<std::byte> out) mutable {
        for (std::byte& b : out) b = static_cast<std::byte>(rng.below(256));
        return true;
    };
}

const std::string kKey(64, '5');
const std::string kOtherKey(64, '6');

Authenticator authenticator(const char* own, AuthConfig config, std::uint64_t seed) {
    config.entropy = numbers(seed);
    auto made = Authenticator::create(config, own, "e.DIF");
    REQUIRE(made);
    return std::move(*made);
}
AuthConfig psk(std::string key = kKey) { return {"psk", std::move(key), {}, {}}; }
AuthConfig password(std::string secret) { return {"password", std::move(secret), {}, {}}; }

struct AuthPair {
    explicit AuthPair(AuthConfig of_a = psk(), AuthConfig of_b = psk())
        : a("a.IPCP", true, authenticator("a.IPCP", std::move(of_a), 1)),
          b("b.IPCP", false, authenticator("b.IPCP", std::move(of_b), 2)) {}
    void call(const char* whom = "a.IPCP") {
        a.machine.flow_accepted(now, kPort);
        b.machine.flow_up(now, kPort, whom);
    }
    void join(const char* whom = "a.IPCP") {
        call(whom);
        exchange(now, a, b);
    }
    bool is_up() const { return a.machine.is_up(kPort) && b.machine.is_up(kPort); }
    // One message of the one to the other.
    CdapMessage pass(Node& from, Node& to) {
        REQUIRE_FALSE(from.wire.empty());
        CdapMessage m = from.wire.front().message;
        from.wire.pop_front();
        to.machine.received(now, kPort, m);
        return m;
    }

    Node a, b;
    Instant now{1'000'000'000};
};

std::uint64_t errors(const Node& n, AuthError e) {
    return n.machine.auth_errors()[static_cast<std::size_t>(e)];
}
std::uint64_t all_errors(const Node& n) {
    return n.machine.drops()[static_cast<std::size_t>(EnrollmentDrop::authentication)];
}

TEST_CASE("Two that know the secret join, and prove it to each other", "[auth]") {
    const bool is_password = GENERATE(false, true);
    AuthPair p(is_password ? password("correct horse") : psk(),
               is_password ? password("correct horse") : psk());
    p.join(GENERATE("a.IPCP", "e.DIF"));
    CHECK(p.is_up());
    CHECK(p.b.own_address == Address{7});
    CHECK(p.a.log == std::vector<std::string>{"up b.IPCP"});
    CHECK(p.b.log.back() == "up a.IPCP as initiator");
    CHECK(ops(p.b) == std::vector<OpCode>{OpCode::connect, OpCode::connect, OpCode::start,
                                          OpCode::stop_r});
    CHECK(all_errors(p.a) + all_errors(p.b) == 0);
    // Neither the secret nor its hash is anywhere on the wire; the challenge is no yes.
    for (const Node* n : {&p.a, &p.b})
        for (const CdapMessage& m : n->sent) {
            CHECK(m.auth.password.empty());
            const rina::Bytes bytes = rina::encode(m);
            const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
            CHECK(text.find("correct horse") == std::string::npos);
            CHECK(text.find("5555") == std::string::npos);
        }
    CHECK(p.a.sent[0].result == kAuthContinues);
    CHECK(p.a.sent[1].result == 0);
}

TEST_CASE("Both ends have the same session key, another in each session", "[auth]") {
    std::set<std::array<std::byte, 32>> keys;
    AuthPair p;
    CHECK_FALSE(p.a.machine.session_secret(kPort));
    for (int i = 0; i < 3; ++i) {
        p.a.machine.flow_down(p.now, kPort);
        p.b.machine.flow_down(p.now, kPort);
        p.join();
        const auto a = p.a.machine.session_secret(kPort), b = p.b.machine.session_secret(kPort);
        REQUIRE(a);
        REQUIRE(b);
        CHECK(a->secret.bytes == b->secret.bytes);
        CHECK(a->context == b->context);
        CHECK(b->is_initiator);
        CHECK_FALSE(a->is_initiator);
        keys.insert(a->secret.bytes);
        // As it is meant to be used.
        CHECK(sdup::derive_keys(sdup::Cipher::aes_128_gcm, a->secret.bytes, a->context,
                                sdup::KeyEpoch{0}));
    }
    CHECK(keys.size() == 3);
}

TEST_CASE("Who does not know the secret stays outside", "[auth]") {
    const bool is_password = GENERATE(false, true);
    AuthPair p(is_password ? password("correct horse") : psk(),
               is_password ? password("battery staple") : psk(kOtherKey));
    p.join();
    CHECK_FALSE(p.b.member);
    CHECK(p.a.choices == 0);
    CHECK(errors(p.a, AuthError::wrong_proof) == 1);
    CHECK(p.a.log == std::vector<std::string>{"failed : not authenticated, a wrong proof"});
    CHECK(p.b.log ==
          std::vector<std::string>{"failed a.IPCP: not authenticated, authentication failed"});
    CHECK(p.a.released);
    CHECK(p.b.released);
    CHECK_FALSE(p.b.machine.session_secret(kPort));
}

TEST_CASE("An enroller that does not know the secret enrolls nobody", "[auth]") {
    AuthPair p;
    // It says yes to everything, with what it can make up.
    p.call();
    p.pass(p.b, p.a);
    p.pass(p.a, p.b);
    CdapMessage proof = p.b.wire.front().message;
    p.b.wire.clear();
    CdapMessage yes = p.a.sent[0];
    yes.invoke_id = proof.invoke_id;
    yes.result = 0;
    yes.reason.clear();
    AuthError expected{};
    SECTION("without any proof") {
        yes.auth_mechanism = rina::AuthMechanism::none;
        yes.auth = {};
        expected = AuthError::downgrade;
    }
    SECTION("with the challenge again") { expected = AuthError::downgrade; }
    SECTION("with bytes of the right form") {
        yes.auth.other = proof.auth.other;
        yes.auth.other[1] = std::byte{4};
        expected = AuthError::wrong_proof;  // our own proof as theirs: the role is in it
    }
    SECTION("with our own words") {
        yes.auth.other = proof.auth.other;
        expected = AuthError::reflected;
    }
    SECTION("with nonces of another time") {
        yes.auth.other = proof.auth.other;
        yes.auth.other[1] = std::byte{4};
        yes.auth.other[40] ^= std::byte{1};
        expected = AuthError::replayed;
    }
    SECTION("cut short") {
        yes.auth.other = proof.auth.other;
        yes.auth.other[1] = std::byte{4};
        yes.auth.other.pop_back();
        expected = AuthError::malformed;
    }
    p.b.machine.received(p.now, kPort, yes);
    CHECK(errors(p.b, expected) == 1);
    CHECK_THAT(p.b.log.back(), Catch::StartsWith("failed a.IPCP: not authenticated"));
    CHECK_FALSE(p.b.member);
    CHECK_FALSE(p.b.machine.is_up(kPort));
}

TEST_CASE("A peer without authentication is told so, and not followed", "[auth]") {
    SECTION("as the enrollee") {
        AuthPair p;
        Node plain("b.IPCP", false);
        p.a.machine.flow_accepted(p.now, kPort);
        plain.machine.flow_up(p.now, kPort, "a.IPCP");
        exchange(p.now, p.a, plain);
        CHECK(errors(p.a, AuthError::missing) == 1);
        CHECK(plain.log == std::vector<std::string>{
                               "failed a.IPCP: refused, authentication is wanted"});
        CHECK(p.a.log == std::vector<std::string>{
                             "failed : not authenticated, it did not authenticate itself"});
    }
    SECTION("as the enroller") {
        AuthPair p;
        Node plain("a.IPCP", true);
        plain.machine.flow_accepted(p.now, kPort);
        p.b.machine.flow_up(p.now, kPort, "a.IPCP");
        exchange(p.now, plain, p.b);
        CHECK(errors(p.b, AuthError::downgrade) == 1);
        CHECK_FALSE(p.b.member);
        // It is let go of, cleanly.
        CHECK(p.b.sent.back().op == OpCode::release);
        CHECK_THAT(plain.log.back(), Catch::Contains("released by the peer"));
    }
}

TEST_CASE("Another mechanism than ours is none", "[auth]") {
    AuthPair p(password("correct horse"), psk());
    p.join();
    CHECK(errors(p.a, AuthError::unknown_mechanism) == 1);
    CHECK_FALSE(p.b.member);
    CHECK_THAT(p.a.log.at(0), Catch::Contains("another mechanism"));
}

TEST_CASE("What does not decode is refused, whatever is wrong with it", "[auth]") {
    using Change = std::function<void(CdapMessage&)>;
    const std::vector<std::pair<AuthError, Change>> changes = {
        {AuthError::malformed, [](CdapMessage& m) { m.auth.other.pop_back(); }},
        {AuthError::malformed, [](CdapMessage& m) { m.auth.other.push_back({}); }},
        {AuthError::malformed, [](CdapMessage& m) { m.auth.other.resize(3); }},
        {AuthError::malformed, [](CdapMessage& m) { m.auth.other.clear(); }},
        {AuthError::malformed, [](CdapMessage& m) { m.auth.other[1] = std::byte{9}; }},
        {AuthError::malformed, [](CdapMessage& m) { m.auth.other[3] = std::byte{1}; }},
        {AuthError::unknown_mechanism, [](CdapMessage& m) { m.auth.other[0] = std::byte{2}; }},
        {AuthError::unknown_mechanism, [](CdapMessage& m) { m.auth.other[2] = std::byte{1}; }},
        {AuthError::unknown_mechanism, [](CdapMessage& m) { m.auth.password = "x"; }},
        {AuthError::unknown_mechanism,
         [](CdapMessage& m) { m.auth_mechanism = rina::AuthMechanism::ssh_rsa; }},
        {AuthError::missing,
         [](CdapMessage& m) {
             m.auth_mechanism = rina::AuthMechanism::none;
             m.auth = {};
         }},
    };
    for (const auto& [expected, change] : changes) {
        for (const bool is_proof : {false, true}) {
            INFO(to_string(expected) << (is_proof ? ", proof" : ", hello"));
            AuthPair p;
            p.call();
            if (is_proof) {
                p.pass(p.b, p.a);
                p.pass(p.a, p.b);
            }
            CdapMessage m = p.b.wire.front().message;
            change(m);
            p.a.machine.received(p.now, kPort, m);
            CHECK(errors(p.a, expected) == 1);
            CHECK(p.a.machine.adjacencies().empty());
            CHECK(p.a.sent.back().result < 0);
        }
    }
}

TEST_CASE("A recorded handshake opens nothing", "[auth]") {
    AuthPair p;
    p.join();
    const CdapMessage hello = p.b.sent[0], proof = p.b.sent[1];
    SECTION("on a new flow") {
        p.a.machine.flow_down(p.now, kPort);
        p.a.machine.flow_accepted(p.now, kPort);
        p.a.machine.received(p.now, kPort, hello);
        // The challenge is another one.
        REQUIRE(p.a.sent.back().auth.other.size() == 68);
        CHECK(p.a.sent.back().auth.other != p.a.sent[0].auth.other);
        p.a.machine.received(p.now, kPort, proof);
        CHECK(errors(p.a, AuthError::replayed) == 1);
        CHECK_FALSE(p.a.machine.is_up(kPort));
        CHECK(p.a.machine.adjacencies().empty());
    }
    SECTION("without a challenge") {
        p.a.machine.flow_down(p.now, kPort);
        p.a.machine.flow_accepted(p.now, kPort);
        p.a.machine.received(p.now, kPort, proof);
        CHECK(errors(p.a, AuthError::replayed) == 1);
    }
    SECTION("on the session itself, which goes on") {
        const auto key = p.a.machine.session_secret(kPort)->secret.bytes;
        const std::size_t said = p.a.sent.size();
        for (const CdapMessage& m : {hello, proof, hello}) p.a.machine.received(p.now, kPort, m);
        CHECK(errors(p.a, AuthError::replayed) == 3);
        CHECK(p.a.sent.size() == said);
        CHECK(p.is_up());
        CHECK(p.a.machine.session_secret(kPort)->secret.bytes == key);
    }
}

TEST_CASE("Nobody gets a proof out of us for our own challenge", "[auth]") {
    AuthPair p;
    p.call();
    CdapMessage back = p.b.wire.front().message;
    p.b.wire.clear();
    back.op = OpCode::connect_r;
    back.source = name("a.IPCP");
    back.destination = name("b.IPCP");
    back.result = kAuthContinues;
    SECTION("our hello") {}
    SECTION("our nonce as theirs") {
        back.auth.other[1] = std::byte{2};
        back.auth.other.insert(back.auth.other.end(), back.auth.other.begin() + 4,
                               back.auth.other.begin() + 36);
    }
    SECTION("our name as theirs") {
        back.source = name("b.IPCP");
        back.auth.other[1] = std::byte{2};
        back.auth.other.resize(68);
    }
    p.b.machine.received(p.now, kPort, back);
    CHECK(errors(p.b, AuthError::reflected) == 1);
    CHECK(p.b.sent.size() == 1);
    CHECK_THAT(p.b.log.back(), Catch::Contains("our own words"));
}

TEST_CASE("A proof holds for one name, one direction and one DIF", "[auth]") {
    AuthPair p;
    p.call();
    p.pass(p.b, p.a);
    p.pass(p.a, p.b);
    CdapMessage proof = p.b.wire.front().message;
    SECTION("of somebody else") {
        proof.source = name("c.IPCP");
        p.a.machine.received(p.now, kPort, proof);
        CHECK(errors(p.a, AuthError::wrong_identity) == 1);
    }
    SECTION("one bit of it changed") {
        proof.auth.other.back() ^= std::byte{1};
        p.a.machine.received(p.now, kPort, proof);
        CHECK(errors(p.a, AuthError::wrong_proof) == 1);
        // The challenge is used up.
        p.a.machine.flow_accepted(p.now, kPort);
        p.a.machine.received(p.now, kPort, p.b.wire.front().message);
        CHECK(errors(p.a, AuthError::replayed) == 1);
    }
    CHECK_FALSE(p.a.machine.is_up(kPort));
    CHECK(p.a.choices == 0);
}

TEST_CASE("Keys of another DIF are other keys", "[auth]") {
    AuthConfig config = psk();
    config.entropy = numbers(3);
    auto other = Authenticator::create(config, "b.IPCP", "other.DIF");
    REQUIRE(other);
    AuthPair p;
    Node c("b.IPCP", false, std::move(*other));
    p.a.machine.flow_accepted(p.now, kPort);
    c.machine.flow_up(p.now, kPort, "a.IPCP");
    exchange(p.now, p.a, c);
    CHECK(errors(p.a, AuthError::wrong_proof) == 1);
    CHECK_FALSE(c.member);
}

TEST_CASE("A peer with a key of its own is believed with no other", "[auth]") {
    AuthConfig a = psk();
    a.peers["b.IPCP"] = kOtherKey;
    SECTION("not with that of the DIF") {
        AuthPair p(a, psk());
        p.join();
        CHECK(errors(p.a, AuthError::wrong_proof) == 1);
    }
    SECTION("with its own") {
        AuthConfig b = psk(kOtherKey);
        AuthPair p(a, b);
        p.join();
        CHECK(p.is_up());
    }
    SECTION("and nobody else, if there is no key of the DIF") {
        a.secret.clear();
        a.peers = {{"x.IPCP", kKey}};
        AuthPair p(a, psk());
        p.join();
        CHECK(errors(p.a, AuthError::unknown_identity) == 1);
        AuthPair q(psk(), a);
        q.join();
        CHECK(errors(q.b, AuthError::unknown_identity) == 1);
    }
}

TEST_CASE("Who asked for one IPC process takes no answer from another", "[auth]") {
    AuthPair p;
    p.call("e.DIF");
    p.b.machine.flow_down(p.now, kPort);
    p.b.wire.clear();
    p.b.machine.flow_up(p.now, kPort, "a.IPCP");
    // Somebody with the DIF's key, but another name.
    CdapMessage challenge = [&] {
        Node c("c.IPCP", true, authenticator("c.IPCP", psk(), 9));
        c.machine.flow_accepted(p.now, kPort);
        CdapMessage hello = p.b.wire.front().message;
        hello.destination = name("c.IPCP");
        c.machine.received(p.now, kPort, hello);
        return c.sent.at(0);
    }();
    p.b.machine.received(p.now, kPort, challenge);
    CHECK(errors(p.b, AuthError::wrong_identity) == 1);
    CHECK_THAT(p.b.log.back(), Catch::Contains("not who it should be"));
}

TEST_CASE("A session belongs to who proved its name", "[auth]") {
    AuthPair p;
    p.join();
    const auto log = p.a.log;
    CdapMessage m = p.b.sent[0];
    m.invoke_id = 900;
    AuthError expected{};
    SECTION("another name") {
        m.source = name("c.IPCP");
        expected = AuthError::wrong_identity;
    }
    SECTION("the same without a proof") {
        m.auth_mechanism = rina::AuthMechanism::none;
        m.auth = {};
        expected = AuthError::missing;
    }
    SECTION("the same with a proof that is none") {
        m.auth.other[10] ^= std::byte{1};  // a new hello
        p.a.machine.received(p.now, kPort, m);
        CHECK(p.a.sent.back().result == kAuthContinues);
        m.auth.other = p.a.sent.back().auth.other;
        m.auth.other[1] = std::byte{3};
        m.auth.other.resize(100);
        m.invoke_id = 901;
        expected = AuthError::wrong_proof;
    }
    p.a.machine.received(p.now, kPort, m);
    CHECK(errors(p.a, expected) == 1);
    CHECK(p.a.sent.back().result < 0);
    CHECK(p.a.log == log);
    CHECK(p.a.machine.is_up(kPort));
}

TEST_CASE("A peer that restarted joins again, once it has proved itself", "[auth]") {
    AuthPair p;
    p.join();
    const auto before = p.a.machine.session_secret(kPort)->secret.bytes;
    Node again("b.IPCP", false, authenticator("b.IPCP", psk(), 77));
    again.machine.flow_up(p.now, kPort, "a.IPCP");
    p.pass(again, p.a);
    CHECK(p.a.machine.is_up(kPort));
    exchange(p.now, p.a, again);
    CHECK(p.a.log == std::vector<std::string>{"up b.IPCP", "down b.IPCP: the peer began anew",
                                              "up b.IPCP"});
    CHECK(again.machine.is_up(kPort));
    CHECK(p.a.machine.session_secret(kPort)->secret.bytes != before);
    CHECK(p.a.machine.session_secret(kPort)->secret.bytes ==
          again.machine.session_secret(kPort)->secret.bytes);
}

TEST_CASE("Both may call at once and authenticate", "[auth]") {
    AuthPair p;
    p.b.member = true;
    p.a.machine.flow_up(p.now, kPort, "b.IPCP");
    p.b.machine.flow_up(p.now, kPort, "a.IPCP");
    exchange(p.now, p.a, p.b);
    CHECK(p.is_up());
    CHECK(p.a.log == std::vector<std::string>{"up b.IPCP as initiator"});
    CHECK(p.b.log == std::vector<std::string>{"up a.IPCP"});
}

// Any one message of the handshake is lost, or all of a kind for a while, or some come twice.
TEST_CASE("Lost and repeated messages of the handshake", "[auth]") {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        INFO("seed " << seed);
        Rng rng(seed);
        AuthPair p;
        p.call();
        const auto carry = [&](Node& from, Node& to) {
            if (from.wire.empty()) return;
            const CdapMessage m = from.wire.front().message;
            from.wire.pop_front();
            const bool may_fail = m.op == OpCode::connect || m.op == OpCode::connect_r;
            if (may_fail && rng.chance(0.3)) return;
            to.machine.received(p.now, kPort, m);
            if (may_fail && rng.chance(0.3)) to.machine.received(p.now, kPort, m);
        };
        const Instant until = p.now + Duration::seconds(10);
        bool is_late = false;
        while (!p.is_up() && !is_late) {
            while (!p.a.wire.empty() || !p.b.wire.empty()) {
                carry(p.a, p.b);
                carry(p.b, p.a);
            }
            if (p.is_up()) break;
            p.now = std::min(p.a.machine.next_deadline(), p.b.machine.next_deadline());
            is_late = p.now >= until;
            if (is_late) break;
            p.a.machine.on_timeout(p.now);
            p.b.machine.on_timeout(p.now);
        }
        // Nobody was taken for an attacker, nor gave up before its time.
        for (const AuthError e : {AuthError::wrong_proof, AuthError::malformed,
                                  AuthError::missing, AuthError::downgrade})
            CHECK(errors(p.a, e) + errors(p.b, e) == 0);
        if (is_late) continue;
        REQUIRE(p.a.machine.session_secret(kPort)->secret.bytes ==
                p.b.machine.session_secret(kPort)->secret.bytes);
    }
}

TEST_CASE("Without random numbers there is no handshake", "[auth]") {
    AuthConfig config = psk();
    config.entropy = [](std::span<std::byte>) { return false; };
    for (const bool of_caller : {true, false}) {
        AuthPair p;
        auto made = Authenticator::create(config, of_caller ? "b.IPCP" : "a.IPCP", "e.DIF");
        REQUIRE(made);
        Node broken(of_caller ? "b.IPCP" : "a.IPCP", !of_caller, std::move(*made));
        Node& a = of_caller ? p.a : broken;
        Node& b = of_caller ? broken : p.b;
        a.machine.flow_accepted(p.now, kPort);
        b.machine.flow_up(p.now, kPort, "a.IPCP");
        exchange(p.now, a, b);
        CHECK(errors(broken, AuthError::no_entropy) == 1);
        CHECK_THAT(broken.log.at(0), Catch::Contains("no random numbers"));
        CHECK_FALSE(b.member);
    }
    std::array<std::byte, 32> x{}, y{};
    CHECK(system_entropy(x));
    CHECK(system_entropy(y));
    CHECK(x != y);
}

TEST_CASE("Secrets that will not do are refused with a reason", "[auth]") {
    const auto wrong = [](AuthConfig c) {
        c.entropy = numbers(1);
        auto made = Authenticator::create(c, "a.IPCP", "e.DIF");
        REQUIRE_FALSE(made);
        return made.error().message;
    };
    CHECK_THAT(wrong({"kerberos", kKey, {}, {}}), Catch::Contains("none, password, psk"));
    CHECK_THAT(wrong({"none", kKey, {}, {}}), Catch::Contains("expected password or psk"));
    CHECK_THAT(wrong({"password", "short", {}, {}}), Catch::Contains("8 or more"));
    CHECK_THAT(wrong({"password", "", {}, {}}), Catch::Contains("without a secret"));
    CHECK_THAT(wrong({"psk", std::string(62, 'a'), {}, {}}), Catch::Contains("32 or more"));
    CHECK_THAT(wrong({"psk", std::string(65, 'a'), {}, {}}), Catch::Contains("hex digits"));
    CHECK_THAT(wrong({"psk", std::string(64, 'g'), {}, {}}), Catch::Contains("hex digits"));
    CHECK_THAT(wrong({"psk", kKey, {{"b.IPCP", "12"}}, {}}), Catch::Contains("b.IPCP"));
    // Errors go to logs.
    CHECK(wrong({"password", "short", {}, {}}).find("short") == std::string::npos);
    CHECK_FALSE(Authenticator::create(psk(), "a.IPCP", "e.DIF"));
    const auto none = Authenticator::create({}, "a.IPCP", "e.DIF");
    REQUIRE(none);
    CHECK_FALSE(none->is_wanted());
}

TEST_CASE("An IPC process authenticates, and keeps its secrets to itself", "[auth]") {
    const Instant start{1'000'000'000};
    std::vector<std::unique_ptr<Ipcp>> ends;
    for (const char* own : {"a.IPCP", "b.IPCP"}) {
        IpcpConfig c;
        c.name = own;
        c.dif = "e.DIF";
        c.lower_difs = {"l"};
        c.first = ends.empty();
        c.auth = psk();
        CHECK_FALSE(Ipcp::create(start, c));  // without random numbers
        c.auth.entropy = numbers(ends.size());
        auto made = Ipcp::create(start, c);
        REQUIRE(made);
        CHECK((*made)->config().auth.secret.empty());
        ends.push_back(std::move(*made));
    }
    ends[0]->flow_accepted(start, kPort, "l");
    ends[1]->flow_up(start, kPort, "l", "a.IPCP");
    for (int round = 0; round < 10; ++round)
        for (std::size_t i : {0u, 1u})
            for (IpcpAction& action : ends[i]->take_actions())
                if (auto* s = std::get_if<SendToNeighbor>(&action))
                    ends[1 - i]->received(start, kPort, s->pci, s->payload);
    const auto a = ends[0]->session_secret(kPort), b = ends[1]->session_secret(kPort);
    REQUIRE(a);
    REQUIRE(b);
    CHECK(a->secret.bytes == b->secret.bytes);
}

// RFC 4231, case 2 with the key padded as HMAC pads it; both ends may not err in the same way.
TEST_CASE("HMAC-SHA-256 is that of the RFC", "[auth]") {
    AuthKey key;
    const std::string jefe = "Jefe", text = "what do ya want for nothing?";
    for (std::size_t i = 0; i < jefe.size(); ++i) key.bytes[i] = static_cast<std::byte>(jefe[i]);
    AuthTag tag;
    REQUIRE(hmac_sha256(key, std::as_bytes(std::span(text)), tag));
    std::string hex;
    for (const std::byte b : tag) hex += fmt::format("{:02x}", static_cast<unsigned>(b));
    CHECK(hex == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

}  // namespace
}  // namespace sluice::mgmt
