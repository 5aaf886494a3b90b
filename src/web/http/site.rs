//! The site as the viewer of a request may see it. A handler has the site only through this, so that
//! none can show more.

use super::response::{self, PageRequest};
use super::viewer::viewer_of_request;
use crate::web::Web;
use actix_web::dev::Payload;
use actix_web::error::{ErrorInternalServerError, InternalError};
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use std::pin::Pin;

/// The site as the viewer of the request may see it.
impl FromRequest for Web {
    type Error = actix_web::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Self::Error>>>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let req = req.clone();

        Box::pin(async move {
            let web = req
                .app_data::<Data<Self>>()
                .ok_or_else(|| ErrorInternalServerError("the site is not there"))?;
            let viewer = viewer_of_request(&req);
            match web.store.for_viewer(&viewer, web.options.visibility).await {
                Ok(store) => Ok(Self {
                    store,
                    ..web.get_ref().clone()
                }),
                Err(error) => {
                    let ask = PageRequest::of_request(&req, web);
                    let refused = response::send_error(&ask, &error.into());

                    Err(InternalError::from_response("the site cannot be read", refused).into())
                }
            }
        })
    }
}
