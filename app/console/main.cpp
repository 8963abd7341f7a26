#include "app/bootstrap.hpp"

int main(int argc, char** argv) {
    sluice::app::ConfigScope scope;
    scope.role = "console";
    scope.captures = true;
    scope.stages = true;
    return sluice::app::run_role(argc, argv, scope,
                  "Lab: stages wired by hand; --attach drives a running role.");
}
