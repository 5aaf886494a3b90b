//! A running site and a browser, as the tests of the pages have them.
#![allow(dead_code, reason = "each test program uses its own part of it")]

#[path = "../it/pages/browser.rs"]
pub mod browser;
#[path = "../it/pages/site.rs"]
pub mod site;
