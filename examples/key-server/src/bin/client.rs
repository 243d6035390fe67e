//! `keystow`: the command line of [`key_server::client`].

use std::process::ExitCode;

use clap::Parser;
use key_server::client::arguments::Arguments;
use key_server::client::report::{Form, print_error};
use key_server::client::{ClientError, commands};

fn main() -> ExitCode {
    let arguments = Arguments::parse(); // ends with 2 if it can't be understood
    let form = if arguments.place.json { Form::Json } else { Form::Text };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(form, &error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(arguments: Arguments) -> Result<(), ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ClientError::Local(error.to_string()))?;
    runtime.block_on(commands::run(arguments))?.print()
}
