//! The types of this crate are those of `plugin-sdk/wit`.

use bellhop_policy_engine::guest::{Guest, GuestError};
use bellhop_sandbox::Stage;

use crate::support::{
    address_question, dummy_of_the_contract, loaded, nodes_question, refused, route_question,
};

#[test]
fn a_module_of_the_wit_files_passes_the_type_check_of_every_hook() {
    // Its functions do nothing but trap, so that it gets as far as its config and no further.
    let error = refused(&dummy_of_the_contract());
    assert_eq!((error.stage, error.category()), (Stage::Configured, "Failed"), "{error}");
    assert!(error.message.contains("unreachable"), "{error}");
}

#[test]
fn every_question_reaches_a_guest_that_answers_it() {
    let guest = loaded(&crate::support::fixture("good-route")).unwrap();
    assert!(guest.route(&route_question()).result.is_ok());
    for error in
        [guest.nodes(&nodes_question(1)).result.err(), guest.address(&address_question()).result.err()]
    {
        assert!(matches!(error, Some(GuestError::InvalidAnswer { .. })), "{error:?}");
    }
}
