#pragma once

#include "rina/cdap.hpp"
#include "rina/objects.hpp"
#include "script.hpp"

// Messages that were said, changed in one place: a fuzzer that works on bytes alone would seldom
// get past the decoder.
namespace sluice::fuzz {

// One of the names that there are, or none.
rina::AppName app_of(std::uint8_t n);
// "a.IPCP", "b.IPCP", "c.IPCP", or none of these.
std::string ipcp_of(std::uint8_t n);

void mutate(Script& script, rina::Bytes& bytes);
void mutate(Script& script, rina::FlowRequest& request);
void mutate(Script& script, rina::CdapMessage& message);

}  // namespace sluice::fuzz
